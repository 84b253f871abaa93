"""What an answer says, as Observations: one for the comparison, one per finding statement.

A finding is a component, never the code: nothing here claims that this patient has it. A similarity
is a component of its own, never a probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cds.domain import wording
from cds.domain.coding import UCUM
from cds.domain.report import AnswerState
from cds.fhir.ai_label import device_id, instant, local_concept, meta, status
from cds.fhir.exported_sentences import finding_sentence, is_few

if TYPE_CHECKING:
    from cds.domain.coding import Coding
    from cds.domain.registration import EhrRegistration
    from cds.domain.report import CaseReport, FindingStatement

_ABSENT_SYSTEM = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
CATEGORY = ("software-comparison", "Comparison with past cases by software")
COMPARISON = ("similar-case-comparison", "Similar-case comparison")
FINDING = ("finding-among-similar-cases", "How often a finding occurs among similar past cases")

Resource = dict[str, Any]


def comparison_observation(report: CaseReport, registration: EhrRegistration) -> Resource:
    """Return the Observation that says what was compared, or why nothing was.

    Parameters
    ----------
    report
        The answer.
    registration
        The EHR that the patient and the study belong to.

    """
    observation = _observation(report, registration, "comparison", COMPARISON)
    observation["component"] = _comparison_components(report)
    if report.state is AnswerState.COMPARED:
        observation["valueString"] = (
            f"Compared with {_count_words(report.n_neighbors)} past patients of "
            f"{report.library_name}."
        )
        return observation
    not_assessed = report.state is AnswerState.NOT_ASSESSED
    sentence = report.abstention or report.priority_sentence
    observation["dataAbsentReason"] = absent_reason(
        "not-performed" if not_assessed else "not-applicable", sentence
    )
    return observation


def finding_observation(
    report: CaseReport, registration: EhrRegistration, number: int, statement: FindingStatement
) -> Resource:
    """Return the Observation of one finding statement.

    Parameters
    ----------
    report
        The answer.
    registration
        The EHR that the patient and the study belong to.
    number
        1-based position, part of the logical id.
    statement
        Counts of 1 to 4 are masked, with the interval and the rate that would give them away.

    """
    observation = _observation(report, registration, f"finding-{number}", FINDING)
    observation["valueString"] = finding_sentence(statement)
    observation["component"] = [
        _component("finding", "Finding", valueCodeableConcept=concept(statement.coding)),
        _count("n-with", "Similar past patients with the finding", statement.n_with),
        _count("n", "Similar past patients", statement.n),
        _interval(statement),
        _count("n-eligible", "Eligible past patients", statement.n_eligible),
        _base_rate(statement),
    ]
    if not is_few(statement.n_with) and not is_few(statement.n_eligible_with):
        code = statement.direction.value.replace(" ", "-")
        observation["component"].append(
            _component(
                "direction",
                "Compared with the eligible past patients",
                valueCodeableConcept=local_concept(code, statement.direction.value),
            )
        )
    return observation


def concept(coding: Coding) -> dict[str, Any]:
    """Return a CodeableConcept; text only where there is no code."""
    if coding.code is None:
        return {"text": coding.display}
    entry = {"system": coding.system, "code": coding.code, "display": coding.display}
    return {"coding": [entry], "text": coding.display}


def absent_reason(code: str, sentence: str | None = None) -> dict[str, Any]:
    """Return why a value is absent."""
    reason: dict[str, Any] = {"coding": [{"system": _ABSENT_SYSTEM, "code": code}]}
    if sentence:
        reason["text"] = sentence
    return reason


def patient_reference(report: CaseReport, registration: EhrRegistration) -> str | None:
    """Return the absolute reference to the Patient in its EHR, or None without a patient."""
    if report.patient_id is None:
        return None
    return f"{registration.fhir_base_url.rstrip('/')}/Patient/{report.patient_id}"


def study_reference(report: CaseReport, registration: EhrRegistration) -> str | None:
    """Return the absolute reference to the ImagingStudy in its EHR, or None where it has none."""
    if report.study is None or report.study.imaging_study_id is None:
        return None
    base_url = registration.fhir_base_url.rstrip("/")
    return f"{base_url}/ImagingStudy/{report.study.imaging_study_id}"


def about(report: CaseReport, registration: EhrRegistration, *, study_element: str) -> Resource:
    """Return the elements that say whom and which study a resource is about, as far as known.

    Parameters
    ----------
    report, registration
        The answer, and the EHR that patient and study live in.
    study_element
        Name of the element that refers to the ImagingStudy.

    """
    elements: Resource = {}
    patient = patient_reference(report, registration)
    study = study_reference(report, registration)
    if patient:
        elements["subject"] = {"reference": patient}
    if study:
        elements[study_element] = [{"reference": study}]
    if report.study is not None and report.study.started_at is not None:
        elements["effectiveDateTime"] = instant(report.study.started_at)
    return elements


def _observation(
    report: CaseReport, registration: EhrRegistration, suffix: str, code: tuple[str, str]
) -> Resource:
    observation: Resource = {
        "resourceType": "Observation",
        "id": f"{report.report_id}-{suffix}",
        "meta": meta(report),
        "status": status(report),
        "category": [local_concept(*CATEGORY)],
        "code": local_concept(*code),
        "issued": instant(report.created_at),
        "device": {"reference": f"Device/{device_id(report)}"},
    }
    return observation | about(report, registration, study_element="derivedFrom")


def _comparison_components(report: CaseReport) -> list[Resource]:
    components = [
        _count("n", "Similar past patients", report.n_neighbors),
        _count("n-eligible", "Eligible past patients", report.n_eligible),
        _count("n-library", "Past patients in the library", report.n_library_patients),
        _number("image-weight", "Weight of the picture", report.image_weight),
        _number("record-weight", "Weight of labs, vitals, age and sex", report.record_weight),
    ]
    if report.best_similarity is not None:
        words = "Best similarity (not a probability)"
        components.append(_number("best-similarity", words, report.best_similarity))
    if report.similarity_limit is not None:
        words = "Similarity below which nothing is said (not a probability)"
        components.append(_number("similarity-limit", words, report.similarity_limit))
    return components


def _component(code: str, words: str, **value: Any) -> Resource:  # noqa: ANN401  # FHIR value[x]
    return {"code": local_concept(code, words), **value}


def _count(code: str, words: str, n: int) -> Resource:
    if is_few(n):
        return _component(code, words, dataAbsentReason=_masked())
    return _component(code, words, valueInteger=n)


def _number(code: str, words: str, value: float) -> Resource:
    quantity = {"value": round(value, 4), "unit": "1", "system": UCUM, "code": "1"}
    return _component(code, words, valueQuantity=quantity)


def _interval(statement: FindingStatement) -> Resource:
    words = "95 % interval of the share (descriptive)"
    if is_few(statement.n_with):
        return _component("interval", words, dataAbsentReason=_masked())
    ends = {"low": statement.interval.low, "high": statement.interval.high}
    value = {end: _percent(share) for end, share in ends.items()}
    return _component("interval", words, valueRange=value)


def _base_rate(statement: FindingStatement) -> Resource:
    words = "Share among the eligible past patients"
    if is_few(statement.n_eligible_with) or statement.n_eligible == 0:
        return _component("base-rate", words, dataAbsentReason=_masked())
    share = statement.n_eligible_with / statement.n_eligible
    return _component("base-rate", words, valueQuantity=_percent(share))


def _percent(share: float) -> dict[str, Any]:
    return {"value": round(100 * share, 1), "unit": "%", "system": UCUM, "code": "%"}


def _masked() -> dict[str, Any]:
    return absent_reason("masked", f"fewer than {wording.FEW}")


def _count_words(n: int) -> str:
    return wording.count_text(n, is_exported=True)
