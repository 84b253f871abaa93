"""The 14 lines of CLINICAL 2.4: what was seen decides, and what was not seen is UNKNOWN."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import pytest

from cds.adapters.probes.connection_check import ConnectionFindings
from cds.adapters.probes.dicom_header import HeaderFacts, header_facts
from cds.adapters.probes.ehr_steps import SmartFound
from cds.adapters.probes.readiness_report import ReadinessFacts, readiness_report, share
from cds.adapters.probes.record_survey import RecordSurvey
from cds.adapters.probes.site_history import SiteHistory
from cds.adapters.smart_configuration import SmartConfiguration
from cds.domain.check_line import CheckLine, Verdict, failed, passed, warned
from cds.domain.registration import Approval, ApprovalRole, CdsClient, ReportMode, Stage
from cds.fhir.site_shares import LabShares
from tests.builders.registration import a_registration

NOW = datetime(2026, 11, 12, 7, 0, tzinfo=UTC)
APPROVALS = tuple(Approval(role, "N. Noor", date(2026, 11, 2)) for role in ApprovalRole)
SCOPES = ("system/Patient.rs", "system/ImagingStudy.rs")


def a_survey(**changes: Any) -> RecordSurvey:
    values: dict[str, Any] = {
        "n_patients": 2,
        "n_read": 2,
        "n_with_study": 2,
        "n_studies": 3,
        "n_with_endpoint": 1,
        "n_with_accession": 3,
        "n_asked": 3,
        "n_retrieved": 3,
        "n_identity_equal": 3,
        "labs": LabShares(n=10, n_loinc=9, n_catalogue=5, n_quantities=10, n_ucum=9),
        "offsets": Counter({"+01:00": 4}),
        "headers": [HeaderFacts("JPEG 2000", view_position="PA")] * 3,
    }
    return RecordSurvey(**{**values, **changes})


def facts_of(
    *,
    survey: RecordSurvey | None = None,
    lines: tuple[CheckLine, ...] = (passed("smart configuration", "found"),),
    smart: SmartFound | None = None,
    history: SiteHistory | None = None,
    **registration: Any,
) -> ReadinessFacts:
    values: dict[str, Any] = {
        "stage": Stage.SILENT,
        "time_zone": "Europe/Berlin",
        "approvals": APPROVALS,
        "backend_scopes": SCOPES,
        "cds_clients": (CdsClient("https://ehr.example.invalid", jwks_json='{"keys": []}'),),
        **registration,
    }
    found = smart or SmartFound(
        SmartConfiguration("https://x.example.invalid"), None, "system/*.rs"
    )
    return ReadinessFacts(
        a_registration(**values),
        ConnectionFindings(lines, found, survey),
        history or SiteHistory(7, NOW, 100, {"Pneumonia": 40, "Heart failure": 35, "None": 25}),
        "https://cds.example.invalid",
        NOW,
    )


def line(number: int, **facts: Any) -> CheckLine:
    return readiness_report(facts_of(**facts))[number - 1]


def test_report_when_made_has_fourteen_numbered_lines_without_warnings() -> None:
    lines = readiness_report(facts_of(survey=a_survey()))
    assert [one.name.split()[0] for one in lines] == [str(n) for n in range(1, 15)]
    assert {one.verdict for one in lines} == {Verdict.PASS, Verdict.UNKNOWN}
    assert all(one.action for one in lines if one.verdict is Verdict.UNKNOWN)
    passing = {int(one.name.split()[0]) for one in lines if one.verdict is Verdict.PASS}
    assert passing == {1, 3, 6, 7, 9, 10, 12, 13, 14}


def test_report_when_no_patient_was_read_knows_nothing_of_the_record() -> None:
    lines = readiness_report(facts_of())
    unknown = {int(one.name.split()[0]) for one in lines if one.verdict is Verdict.UNKNOWN}
    assert {6, 7, 9, 10} <= unknown


@pytest.mark.parametrize(
    ("number", "history", "verdict", "part"),
    [
        pytest.param(2, {}, Verdict.UNKNOWN, "0 timed calls", id="hook-not-timed"),
        pytest.param(2, {"hook_ms": (90,) * 9}, Verdict.UNKNOWN, "9 timed", id="hook-too-few"),
        pytest.param(
            2, {"hook_ms": (90,) * 19 + (900,)}, Verdict.PASS, "95 of 100 up to 90 ms", id="hook"
        ),
        pytest.param(
            2, {"hook_ms": (90,) * 18 + (900,) * 2}, Verdict.FAIL, "up to 900 ms", id="hook-slow"
        ),
        pytest.param(4, {}, Verdict.UNKNOWN, "no launch", id="no-launch"),
        pytest.param(
            4,
            {"launches": {"study=none": 3, "study=fhir-context": 1}},
            Verdict.UNKNOWN,
            "of the last 4 launches 0 brought appContext, 1 fhirContext",
            id="launch-without-app-context",
        ),
        pytest.param(
            4, {"launches": {"study=app-context": 1}}, Verdict.PASS, "1 brought", id="app-context"
        ),
        pytest.param(5, {"launches": {"frame=no": 5}}, Verdict.UNKNOWN, "no sign-in", id="window"),
        pytest.param(5, {"launches": {"frame=yes": 2}}, Verdict.PASS, "2 sign-ins", id="frame"),
        pytest.param(
            5,
            {"launches": {"frame=yes": 1, "refused frame=yes": 2}},
            Verdict.FAIL,
            "2 lost it",
            id="cookie-lost",
        ),
    ],
)
def test_lines_of_calls_and_launches_say_what_was_seen(
    number: int, history: dict[str, Any], verdict: Verdict, part: str
) -> None:
    found = line(number, history=SiteHistory(7, NOW, 100, {"Pneumonia": 40}, **history))
    assert found.verdict is verdict
    assert part in found.evidence
    assert bool(found.action) is (verdict is not Verdict.PASS)


def test_lines_8_and_11_stay_unknown_with_the_reason() -> None:
    orders, actions = (line(number, survey=a_survey(n_orders=4)) for number in (8, 11))
    assert (orders.verdict, actions.verdict) == (Verdict.UNKNOWN, Verdict.UNKNOWN)
    assert "0 with a code; this version keeps no catalogue" in orders.evidence


def test_line_6_when_no_identifier_system_is_agreed_fails() -> None:
    found = line(6, survey=a_survey(), mrn_system=None, pacs_issuer=None)
    assert found.verdict is Verdict.FAIL
    assert "--mrn-system" in found.action


@pytest.mark.parametrize(
    ("facts", "verdict", "part"),
    [
        pytest.param({"cds_clients": ()}, Verdict.FAIL, "no CDS client", id="no-client"),
        pytest.param({"history": SiteHistory()}, Verdict.UNKNOWN, "no hook call", id="no-call"),
        pytest.param(
            {"lines": (failed("hook keys", "gone", "x"),)}, Verdict.FAIL, "gone", id="keys"
        ),
        pytest.param(
            {"lines": (failed("own discovery", "404", "x"),)}, Verdict.FAIL, "404", id="proxy"
        ),
        pytest.param(
            {"lines": (warned("fhir clock", "45 s", "NTP"),)}, Verdict.FAIL, "45 s", id="clock"
        ),
        pytest.param(
            {"history": SiteHistory(1, NOW, n_hook_refusals={"missing-context": 9})},
            Verdict.FAIL,
            "missing-context 9",
            id="412",
        ),
    ],
)
def test_line_1_when_hooks_cannot_work_says_why(
    facts: dict[str, Any], verdict: Verdict, part: str
) -> None:
    smart = (passed("smart configuration", "found"),)
    found = line(1, **{**facts, "lines": (*facts.get("lines", ()), *smart)})
    assert found.verdict is verdict
    assert part in found.evidence


@pytest.mark.parametrize(
    ("smart", "lines", "verdict"),
    [
        pytest.param(SmartFound(), (), Verdict.FAIL, id="no-discovery"),
        pytest.param(None, (warned("smart configuration", "x", "y"),), Verdict.FAIL, id="lacks"),
        pytest.param(
            SmartFound(SmartConfiguration("x")),
            (passed("smart configuration", ""),),
            Verdict.UNKNOWN,
            id="no-grant",
        ),
        pytest.param(
            SmartFound(SmartConfiguration("x"), None, "system/Patient.rs"),
            (passed("smart configuration", ""),),
            Verdict.FAIL,
            id="less",
        ),
    ],
)
def test_line_3_when_less_than_all_was_found_is_not_pass(
    smart: SmartFound | None, lines: tuple[CheckLine, ...], verdict: Verdict
) -> None:
    assert line(3, smart=smart, lines=lines).verdict is verdict


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"differing": Counter({"birth date": 1})}, id="identity"),
        pytest.param({"n_retrieved": 2}, id="not-found"),
        pytest.param({"n_with_study": 1}, id="no-study"),
        pytest.param({"n_asked": 0, "n_retrieved": 0}, id="none-asked"),
    ],
)
def test_line_6_when_a_picture_is_missing_or_foreign_fails(changes: dict[str, Any]) -> None:
    assert line(6, survey=a_survey(**changes)).verdict is Verdict.FAIL


def test_line_7_when_codes_are_local_fails_and_lists_the_commonest() -> None:
    labs = LabShares(n=10, n_loinc=2, n_quantities=10, n_ucum=10)
    labs.unmapped.update({f"urn:lab|L{n}": n for n in range(1, 40)})
    found = line(7, survey=a_survey(labs=labs))
    assert found.verdict is Verdict.FAIL
    assert "urn:lab|L39 x39" in found.evidence
    assert found.evidence.count("urn:lab|") == 30


def test_line_9_when_views_are_missing_fails() -> None:
    headers = [HeaderFacts("JPEG 2000")] * 2 + [HeaderFacts("JPEG 2000", view_position="PA")]
    assert line(9, survey=a_survey(headers=headers)).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("offsets", "verdict"),
    [
        pytest.param({"+02:00": 1}, Verdict.PASS, id="summer"),
        pytest.param({"Z": 1}, Verdict.PASS, id="utc"),
        pytest.param({"-05:00": 1}, Verdict.FAIL, id="elsewhere"),
        pytest.param({"+01:00": 3, "none": 1}, Verdict.FAIL, id="without"),
        pytest.param({}, Verdict.UNKNOWN, id="no-times"),
    ],
)
def test_line_10_when_offsets_are_compared_with_the_zone(
    offsets: dict[str, int], verdict: Verdict
) -> None:
    assert line(10, survey=a_survey(offsets=Counter(offsets))).verdict is verdict


def test_line_12_when_reports_are_served_wants_the_portal_rule_and_who_named_it() -> None:
    served = {"report_mode": ReportMode.DRAFT}
    assert line(12, **served).verdict is Verdict.FAIL
    assert line(12, **served, portal_release_rule="after 72 h").verdict is Verdict.FAIL
    named = {"portal_release_rule": "after 72 h", "portal_release_owner": "P. Roth"}
    found = line(12, **served, **named)
    assert found.verdict is Verdict.PASS
    assert "P. Roth" in found.evidence


@pytest.mark.parametrize(
    ("by_diagnosis", "verdict"),
    [
        pytest.param({"A": 30, "B": 30}, Verdict.PASS, id="mixed"),
        pytest.param({"A": 90, "B": 30}, Verdict.FAIL, id="one-dominates"),
        pytest.param({"A": 10, "B": 9}, Verdict.FAIL, id="too-few-others"),
        pytest.param({}, Verdict.FAIL, id="none"),
    ],
)
def test_line_13_when_one_diagnosis_rules_is_not_fit(
    by_diagnosis: dict[str, int], verdict: Verdict
) -> None:
    found = line(13, history=SiteHistory(1, NOW, 100, by_diagnosis))
    assert found.verdict is verdict
    assert f"fit for this service: {'yes' if verdict is Verdict.PASS else 'no'}" in found.evidence


def test_line_14_when_an_approval_is_missing_names_the_role() -> None:
    found = line(14, approvals=APPROVALS[:3])
    assert found.verdict is Verdict.FAIL
    assert "missing: ehr-team" in found.evidence
    assert line(14, approvals=(), stage=Stage.SANDBOX).verdict is Verdict.PASS
    research = line(14, stage=Stage.RESEARCH, protocol_number="P-7")
    assert "protocol P-7" in research.evidence


def test_shares_when_there_is_nothing_divide_by_nothing() -> None:
    assert (share(0, 0), share(1, 3)) == ("0 of 0", "1 of 3 (33 %)")


def test_header_when_unreadable_is_empty() -> None:
    assert header_facts(b"no DICOM") == HeaderFacts()


def test_labs_when_counted_tell_loinc_units_and_local_codes() -> None:
    loinc = {"system": "http://loinc.org", "code": "1988-5"}
    local = {"system": "urn:lab", "code": "CRP"}
    ucum = {"value": 1, "system": "http://unitsofmeasure.org", "code": "mg/L"}
    labs = LabShares()
    labs.add(
        [
            {"status": "final", "code": {"coding": [loinc]}, "valueQuantity": ucum},
            {"status": "final", "code": {"coding": [local]}, "valueQuantity": {"value": 1}},
            {"status": "final", "code": {"text": "free"}},
            {"status": "entered-in-error", "code": {"coding": [loinc]}},
            {"status": "final", "component": [{"code": {"coding": [loinc]}}] * 2},
        ]
    )
    assert (labs.n, labs.n_loinc, labs.n_catalogue) == (5, 3, 3)
    assert (labs.n_quantities, labs.n_ucum) == (2, 1)
    assert labs.unmapped == {"urn:lab|CRP": 1, "(no code)": 1}
