"""What a record gives a case: labels with proof and time, facts at the film, what followed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from cds.domain.coding import Coding
from cds.domain.errors import CdsError, Reason
from cds.domain.facts import Finding, Outcome
from cds.domain.recorded_case import RecordedCase
from cds.fhir.course import is_icu_location
from cds.fhir.patient_record import PatientRecord
from cds.fhir.recorded_case import JoinRules, recorded_case
from cds.fhir.withholding import CONSENT_DENIED, PROTECTED
from tests.builders.fhir import Resource, a_condition, a_diagnostic_report, a_patient
from tests.builders.hospital_record import (
    ENCOUNTER,
    a_deny,
    a_diagnosis,
    a_procedure,
    a_report,
    a_stay,
    a_value,
    a_visit,
    an_icu_place,
    the_icu,
    the_record,
    the_study,
)
from tests.builders.registration import a_registration
from tests.fakes.archives import FILM_AT, an_archived_study

READ_AT = datetime(2026, 6, 1, tzinfo=UTC)
EVERYTHING = frozenset({"icu", "ventilation", "niv", "drained", "cancer"})


def case_of(*resources: Resource, study: Any = None, **rules: Any) -> RecordedCase:
    patient = next(r for r in resources if r["resourceType"] == "Patient")
    icu = {r["id"] for r in resources if r["resourceType"] == "Location" and is_icu_location(r)}
    values = {
        "registration": a_registration(),
        "read_at": READ_AT,
        "icu_location_ids": frozenset(icu),
        "kept_events": EVERYTHING,
        **rules,
    }
    return recorded_case(
        study or an_archived_study(), PatientRecord.of(patient, resources), JoinRules(**values)
    )


def without(record: list[Resource], *kinds: str) -> list[Resource]:
    return [r for r in record if r["resourceType"] not in kinds]


def outcomes(case: RecordedCase) -> dict[tuple[str, int | None], float]:
    return {(o.code, o.horizon_days): o.value for o in case.outcomes}


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.coding.key for finding in findings]


def test_case_of_a_whole_record_has_labels_facts_and_outcomes() -> None:
    case = case_of(*the_record())
    assert (case.patient_namespace, case.patient_value) == ("urn:oid:2.999.1", "P100")
    assert (case.age_years, case.demographics.sex) == (65, "female")
    assert codes(case.findings) == ["233604007", "95436008"]
    assert [(f.proof, f.is_diagnosis) for f in case.findings] == [
        ("clinical", True),
        ("report", False),
    ]
    assert case.findings[1].known_at == datetime(2025, 3, 4, 10, tzinfo=UTC)
    assert [m.code for m in case.measurements] == ["1988-5"]
    assert [h.coding.code for h in case.history] == ["84114007"]
    assert "Left basal consolidation" in (case.report_text or "")
    assert outcomes(case)["death", 30] == 0.0
    assert case.film_at == FILM_AT
    assert repr(case) == "RecordedCase(<redacted>)"


def test_case_is_known_when_the_last_of_its_knowledge_was() -> None:
    record = [r for r in the_record() if not r["id"].startswith("visit")]
    late = a_report(issued="2025-05-20T08:00:00Z")
    record = [late if r["resourceType"] == "DiagnosticReport" else r for r in record]
    assert case_of(*record).known_at == datetime(2025, 5, 20, 8, tzinfo=UTC)


def test_case_with_a_years_follow_up_is_known_at_its_end() -> None:
    case = case_of(*the_record())
    assert outcomes(case)["death", 365] == 0.0
    assert case.known_at == datetime(2026, 3, 4, 5, 41, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "is_used"),
    [
        ("2025-03-04T05:00:00Z", True),
        ("2025-03-04T11:00:00Z", True),  # within six hours after the film
        ("2025-03-04T12:00:00Z", False),  # after the window
        ("2025-03-02T05:00:00Z", False),
    ],
    ids=["before", "just after", "too late", "too early"],
)
def test_lab_counts_within_the_window_of_a_query(at: str, *, is_used: bool) -> None:
    record = [r for r in the_record() if r["resourceType"] != "Observation"]
    case = case_of(*record, a_value("1988-5", 112, "mg/L", at))
    assert bool(case.measurements) is is_used


def test_lab_that_the_record_knew_days_later_is_no_feature_of_the_film() -> None:
    record = without(the_record(), "Observation")
    late = a_value("1988-5", 112, "mg/L", "2025-03-04T05:00:00Z", issued="2025-03-09T05:00:00Z")
    assert case_of(*record, late).measurements == ()


def test_condition_recorded_later_is_neither_history_nor_label() -> None:
    planted = a_condition(
        id="late",
        code={"coding": [{"system": "http://snomed.info/sct", "code": "13645005"}]},
        onsetDateTime="2019-01-01",
        recordedDate="2025-06-01",
    )
    case = case_of(*the_record(), planted)
    assert [h.coding.code for h in case.history] == ["84114007"]
    assert "13645005" not in codes(case.findings)


def test_diagnosis_of_the_same_stay_is_a_label_even_if_recorded_before_the_film() -> None:
    record = without(the_record(), "Condition")
    admission = a_diagnosis(recordedDate="2025-03-03T21:00:00Z")
    case = case_of(*record, admission)
    assert case.history == ()
    assert codes(case.findings)[0] == "233604007"


@pytest.mark.parametrize("status", ["provisional", "unconfirmed", "refuted", "entered-in-error"])
def test_condition_that_is_not_confirmed_is_no_label(status: str) -> None:
    record = without(the_record(), "Condition")
    doubtful = a_diagnosis(verificationStatus={"coding": [{"code": status}]})
    assert codes(case_of(*record, doubtful).findings) == ["95436008"]


@pytest.mark.parametrize(
    ("category", "proof"), [("PAT", "histology"), ("MB", "culture"), ("HM", "clinical")]
)
def test_proof_is_read_from_the_evidence(category: str, proof: str) -> None:
    evidence = a_diagnostic_report(
        id="evidence", category=[{"coding": [{"code": category}]}], imagingStudy=[]
    )
    proven = a_diagnosis(evidence=[{"detail": [{"reference": "DiagnosticReport/evidence"}]}])
    case = case_of(*without(the_record(), "Condition"), evidence, proven)
    assert case.findings[0].proof == proof


def test_surest_diagnosis_comes_first() -> None:
    evidence = a_diagnostic_report(id="path", category=[{"coding": [{"code": "SP"}]}])
    cancer = a_diagnosis(
        "254637007",
        "Non-small cell lung cancer",
        recordedDate="2025-03-11T08:00:00Z",
        evidence=[{"detail": [{"reference": "DiagnosticReport/path"}]}],
    )
    assert codes(case_of(*the_record(), evidence, cancer).findings)[:2] == [
        "254637007",
        "233604007",
    ]


def test_report_text_goes_to_the_reader_with_the_time_it_was_known() -> None:
    asked: list[tuple[str, datetime | None]] = []

    def reader(text: str, known_at: datetime | None) -> tuple[Finding, ...]:
        asked.append((text, known_at))
        return (Finding(Coding("Effusion", "60046008")),)

    case = case_of(*the_record(), report_reader=reader)
    issued = datetime(2025, 3, 4, 10, tzinfo=UTC)
    assert asked == [("Left basal consolidation. No pneumothorax.", issued)]
    effusion = next(f for f in case.findings if f.coding.code == "60046008")
    assert (effusion.proof, effusion.known_at) == ("report", issued)


def beside(**overrides: Any) -> Resource:
    """A report that names no study, only the stay."""
    return a_report(
        **{
            "imagingStudy": [],
            "category": [{"coding": [{"code": "RAD"}]}],
            "encounter": ENCOUNTER,
            **overrides,
        }
    )


@pytest.mark.parametrize(
    ("report", "is_its"),
    [
        (beside(), True),
        (beside(category=[{"coding": [{"code": "LAB"}]}]), False),
        (beside(effectiveDateTime="2025-03-06T06:41:00+01:00"), False),
        (beside(encounter={"reference": "Encounter/other"}), False),
        (beside(basedOn=[{"reference": "ServiceRequest/other"}]), False),
        (a_report(status="preliminary"), False),
        (a_report(meta={"security": [{"code": "AIAST"}]}), False),
        (a_report(imagingStudy=[{"reference": "ImagingStudy/other"}]), False),
    ],
    ids=["same stay", "lab", "days later", "other stay", "other order", "draft", "ours", "other"],
)
def test_report_belongs_to_the_study_or_not(report: Resource, *, is_its: bool) -> None:
    case = case_of(*without(the_record(), "DiagnosticReport"), report)
    assert (case.report_text is not None) is is_its


def test_report_beside_two_films_of_the_same_hours_belongs_to_neither() -> None:
    other = the_study(id="is2", identifier=[{"value": "urn:oid:1.2.3.4"}])
    case = case_of(*without(the_record(), "DiagnosticReport"), beside(), other)
    assert case.report_text is None


def test_icu_after_the_film_is_an_outcome_and_before_it_a_state() -> None:
    record = without(the_record(), "Encounter")
    later = a_stay(location=[an_icu_place("2025-03-06T00:00:00Z")])
    assert outcomes(case_of(*record, later))["icu-admission", 7] == 1.0
    there = a_stay(location=[an_icu_place("2025-03-03T22:00:00Z", "2025-03-08T00:00:00Z")])
    case = case_of(*record, there)
    assert case.states_at_film == ("icu",)
    assert ("icu-admission", 7) not in outcomes(case)


def test_closed_stay_without_icu_says_no_if_the_record_keeps_icu_at_all() -> None:
    record = [r for r in the_record() if not r["id"].startswith("visit")]
    assert outcomes(case_of(*record))["icu-admission", 7] == 0.0
    unkept = case_of(*record, kept_events=frozenset())
    assert ("icu-admission", 7) not in outcomes(unkept)
    assert ("ventilation", 7) not in outcomes(unkept)


def test_ventilation_is_read_from_procedures() -> None:
    begun = a_procedure("40617009", "2025-03-05T00:00:00Z")
    assert outcomes(case_of(*the_record(), begun))["ventilation", 7] == 1.0
    running = a_procedure("40617009", "2025-03-04T00:00:00Z", status="in-progress")
    case = case_of(*the_record(), running)
    assert "ventilated" in case.states_at_film
    assert ("ventilation", 7) not in outcomes(case)
    over = a_procedure("40617009", "2025-03-04T00:00:00Z")  # nobody says until when
    assert "ventilated" not in case_of(*the_record(), over).states_at_film
    planned = a_procedure("40617009", "2025-03-05T00:00:00Z", status="not-done")
    assert outcomes(case_of(*the_record(), planned))["ventilation", 7] == 0.0


@pytest.mark.parametrize(
    ("died", "within_30", "within_365"),
    [
        ("2025-03-20T12:00:00Z", 1.0, 1.0),
        ("2025-03-20", 1.0, 1.0),
        ("2025-08-20", 0.0, 1.0),
        ("2026-05-01", 0.0, 0.0),
    ],
)
def test_death_is_counted_by_its_date(died: str, within_30: float, within_365: float) -> None:
    record = [r for r in the_record() if r["resourceType"] != "Patient"]
    case = case_of(a_patient(deceasedDateTime=died), *record)
    assert outcomes(case)["death", 30] == within_30
    assert outcomes(case)["death", 365] == within_365


def test_death_without_a_date_is_unknown_beyond_the_last_contact() -> None:
    record = [r for r in the_record() if r["resourceType"] != "Patient"]
    record = [r for r in record if not r["id"].startswith("visit")]
    case = case_of(a_patient(deceasedBoolean=True), *record)
    assert ("death", 30) not in outcomes(case)


def test_no_death_needs_a_window_that_is_over_and_a_later_contact() -> None:
    record = [r for r in the_record() if not r["id"].startswith("visit")]
    assert ("death", 30) not in outcomes(case_of(*record))  # nobody has seen the patient since
    seen = a_visit("2025-04-10T10:00:00Z")
    assert outcomes(case_of(*record, seen))["death", 30] == 0.0
    assert ("death", 365) not in outcomes(case_of(*record, seen))
    still_open = case_of(*record, seen, read_at=datetime(2025, 3, 20, tzinfo=UTC))
    assert ("death", 30) not in outcomes(still_open)


def test_no_death_is_believed_where_the_site_states_a_register() -> None:
    record = [r for r in the_record() if not r["id"].startswith("visit")]
    case = case_of(*record, complete_until=date(2026, 5, 1))
    assert outcomes(case)["death", 365] == 0.0


def test_nothing_is_denied_by_a_record_that_is_known_to_lack_something() -> None:
    case = case_of(*the_record(), is_partial=True)
    assert {k: v for k, v in outcomes(case).items() if k[0] in {"death", "icu-admission"}} == {}


def test_film_after_the_recorded_death_has_no_outcomes() -> None:
    record = [r for r in the_record() if r["resourceType"] != "Patient"]
    assert case_of(a_patient(deceasedDateTime="2024-01-01"), *record).outcomes == ()


def test_stay_gives_its_length_and_who_died_in_it_gives_none() -> None:
    assert outcomes(case_of(*the_record()))["length-of-stay", None] == 8.5
    assert outcomes(case_of(*the_record()))["in-hospital-death", None] == 0.0
    record = without(the_record(), "Encounter")
    expired = {"dischargeDisposition": {"coding": [{"code": "exp"}]}}
    case = case_of(*record, a_stay(hospitalization=expired))
    assert outcomes(case)["in-hospital-death", None] == 1.0
    assert outcomes(case)["death", 30] == 1.0
    assert ("length-of-stay", None) not in outcomes(case)


def test_return_within_30_days_counts_new_stays_only() -> None:
    again = a_stay(id="again", period={"start": "2025-03-20T09:00:00Z"})
    assert outcomes(case_of(*the_record(), again))["return", 30] == 1.0
    assert outcomes(case_of(*the_record()))["return", 30] == 0.0


def test_cancer_found_within_a_year_is_an_outcome_and_known_before_a_state() -> None:
    found = a_condition(
        id="ca",
        code={"coding": [{"code": "C34.1"}], "text": "Carcinoma of lung"},
        recordedDate="2025-09-01",
    )
    assert outcomes(case_of(*the_record(), found))["cancer-found", 365] == 1.0
    known = {**found, "recordedDate": "2024-09-01"}
    case = case_of(*the_record(), known)
    assert "cancer" in case.states_at_film
    assert ("cancer-found", 365) not in outcomes(case)
    past = {**found, "code": {"text": "History of carcinoma of breast"}}
    assert outcomes(case_of(*the_record(), past))["cancer-found", 365] == 0.0


def test_outcome_names_when_and_who_says_so() -> None:
    begun = a_procedure("264957007", "2025-03-05T07:00:00Z")
    case = case_of(*the_record(), begun)
    assert Outcome("drained", 7, 1.0, date(2025, 3, 5), "EHR") in case.outcomes


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"patient_id_value": "P999"}, "patient ID"),
        ({"issuer": "HOSPITAL-B"}, "issuer of patient ID"),
        ({"accession_number": "A-9"}, "accession number"),
    ],
)
def test_study_of_another_patient_or_order_is_refused(
    overrides: dict[str, str], field: str
) -> None:
    with pytest.raises(CdsError, match=field) as refused:
        case_of(*the_record(), study=an_archived_study(**overrides))
    assert refused.value.reason is Reason.IDENTITY_MISMATCH
    assert "P999" not in str(refused.value)


def test_study_that_the_record_does_not_list_is_joined_by_the_patients_number() -> None:
    record = without(the_record(), "ImagingStudy")
    case = case_of(*record, a_report(id="r2", imagingStudy=[], identifier=[_accession("A-1")]))
    assert "consolidation" in (case.report_text or "")
    assert outcomes(case)["length-of-stay", None] == 8.5  # the stay that was going on then


def test_number_without_a_system_names_different_patients_in_two_hospitals() -> None:
    record = the_record()
    patient = next(r for r in record if r["resourceType"] == "Patient")
    for identifier in patient["identifier"]:
        identifier.pop("system", None)
    study = replace(an_archived_study(), issuer=None)
    named = {
        ehr_id: case_of(
            *record,
            study=study,
            registration=a_registration(ehr_id=ehr_id, mrn_system=None, pacs_issuer=None),
        )
        for ehr_id in ("a", "b")
    }
    assert {case.patient_value for case in named.values()} == {"P100"}
    assert {ehr_id: case.patient_namespace for ehr_id, case in named.items()} == {
        "a": "urn:precedent:ehr:a",
        "b": "urn:precedent:ehr:b",
    }


def _accession(number: str) -> Resource:
    system = "http://terminology.hl7.org/CodeSystem/v2-0203"
    return {"type": {"coding": [{"system": system, "code": "ACSN"}]}, "value": number}


def test_study_without_a_date_anywhere_is_refused() -> None:
    record = [r for r in the_record() if r["resourceType"] != "ImagingStudy"]
    with pytest.raises(CdsError, match="no date"):
        case_of(*record, the_study(started=None), study=an_archived_study(started_at=None))


@pytest.mark.parametrize(
    ("consent", "why"),
    [
        (a_deny(), CONSENT_DENIED),
        (a_deny(status="inactive"), None),
        (a_deny(scope={"coding": [{"code": "treatment"}]}), None),
        (a_deny(provision={"type": "permit", "provision": [{"type": "deny"}]}), CONSENT_DENIED),
        (a_deny(provision={"type": "permit"}), None),
        (a_deny(provision={"type": "deny", "period": {"end": "2025-12-31"}}), None),
    ],
    ids=["denied", "inactive", "treatment", "nested", "permitted", "over"],
)
def test_consent_keeps_out_or_not(consent: Resource, why: str | None) -> None:
    assert case_of(*the_record(), consent).withheld == why


@pytest.mark.parametrize("label", ["R", "V", "N"])
def test_security_label_on_patient_stay_or_report_keeps_out(label: str) -> None:
    meta = {"security": [{"code": label}]}
    expected = None if label == "N" else PROTECTED
    record = the_record()
    for kind in ("Patient", "Encounter", "DiagnosticReport", "ImagingStudy"):
        labelled = [{**r, "meta": meta} if r["resourceType"] == kind else r for r in record]
        assert case_of(*labelled).withheld == expected


def test_resources_about_others_are_left_out_and_named() -> None:
    foreign = a_diagnosis(id="foreign", subject={"reference": "Patient/other"})
    case = case_of(*the_record(), foreign)
    assert "1 resources about others were left out." in case.missing


def test_parts_that_were_refused_are_named_and_deny_nothing() -> None:
    record = PatientRecord.of(
        a_patient(), without(the_record(), "Encounter"), refused=["Encounter"]
    )
    rules = JoinRules(a_registration(), READ_AT, kept_events=EVERYTHING)
    case = recorded_case(an_archived_study(), record, rules)
    assert "Encounter: the EHR did not give it." in case.missing
    assert not any(o.value == 0.0 for o in case.outcomes)
    assert replace(record, refused=frozenset()).refused == frozenset()


def test_location_that_is_named_intensive_care_is_one() -> None:
    assert is_icu_location(the_icu())
    assert is_icu_location({"resourceType": "Location", "name": "Interdisciplinary Intensive Care"})
    assert not is_icu_location({"resourceType": "Location", "name": "Ward 7"})
