"""CaseReport -> DiagnosticReport with Observations, Device and Provenance (FHIR R4).

Aggregates over distinct patients only: no other patient's age, labs, dates, pictures or single
outcome (SAFETY R-HIP-7). No conclusionCode, no performer: a Device cannot perform an R4 report,
and it is not a radiology report (SAFETY R-AIT-4).
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from cds.domain import wording
from cds.domain.local_time import date_time_text
from cds.fhir.ai_label import (
    device_from_report,
    instant,
    local_concept,
    meta,
    provenance_from_report,
    status,
)
from cds.fhir.comparison_observations import (
    CATEGORY,
    about,
    comparison_observation,
    finding_observation,
    study_reference,
)
from cds.fhir.exported_sentences import report_sentences
from cds.fhir.validation import validated

if TYPE_CHECKING:
    from cds.domain.registration import EhrRegistration
    from cds.domain.report import CaseReport

REPORT_CODE = "similar-case-comparison-report"
URI_SYSTEM = "urn:ietf:rfc:3986"
_XHTML = "http://www.w3.org/1999/xhtml"

Resource = dict[str, Any]


def diagnostic_report_bundle(
    report: CaseReport, registration: EhrRegistration, *, base_url: str | None = None
) -> Resource:
    """Return everything that the FHIR API serves about one answer.

    Parameters
    ----------
    report
        The answer.
    registration
        The EHR whose Patient and ImagingStudy are referred to, absolutely.
    base_url
        Of our FHIR API; makes each `fullUrl`. None leaves them out.

    Returns
    -------
    dict
        Bundle of type collection: DiagnosticReport, Observations, Device, Provenance; each checked
        against the FHIR R4 models.

    Raises
    ------
    ValueError
        If a resource does not pass the models: a defect of ours.

    """
    observations = observations_from_report(report, registration)
    main = diagnostic_report_from_report(report, registration)
    study = study_reference(report, registration)
    made = [main, *observations]
    provenance = provenance_from_report(
        report,
        targets=[f"{resource['resourceType']}/{resource['id']}" for resource in made],
        sources=[study] if study else [],
    )
    entries = []
    for resource in (*made, device_from_report(report), provenance):
        entry: Resource = {"resource": validated(resource)}
        if base_url:
            entry["fullUrl"] = f"{base_url}/{resource['resourceType']}/{resource['id']}"
        entries.append(entry)
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def diagnostic_report_from_report(report: CaseReport, registration: EhrRegistration) -> Resource:
    """Return the DiagnosticReport of an answer; its results refer to the Observations."""
    sentences = report_sentences(report)
    results = observations_from_report(report, registration)
    resource: Resource = {
        "resourceType": "DiagnosticReport",
        "id": report.report_id,
        "meta": meta(report),
        "text": {"status": "generated", "div": _narrative(report, sentences, registration)},
        "identifier": [{"system": URI_SYSTEM, "value": f"urn:uuid:{report.report_id}"}],
        "status": status(report),
        "category": [local_concept(*CATEGORY)],
        "code": {**local_concept(REPORT_CODE, wording.REPORT_TITLE)},
        "issued": instant(report.created_at),
        "result": [{"reference": f"Observation/{result['id']}"} for result in results],
        "conclusion": " ".join(sentences),
    }
    return resource | about(report, registration, study_element="imagingStudy")


def observations_from_report(
    report: CaseReport, registration: EhrRegistration
) -> tuple[Resource, ...]:
    """Return the comparison's Observation, then one per finding statement."""
    return (
        comparison_observation(report, registration),
        *(
            finding_observation(report, registration, number, statement)
            for number, statement in enumerate(report.findings, start=1)
        ),
    )


def report_id_of(resource_id: str) -> str:
    """Return the answer that one of our Observation or Provenance ids belongs to.

    Examples
    --------
    >>> report_id_of("0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa-finding-2")
    '0f3c1f57-95b2-4d1f-8f6b-6f0f3c1f57aa'

    """
    return "-".join(resource_id.split("-")[:5])


def _narrative(
    report: CaseReport, sentences: tuple[str, ...], registration: EhrRegistration
) -> str:
    head = f"<p><b>{escape(wording.REPORT_TITLE)}</b></p>"
    about = f"<p>{escape(_study_line(report, registration.time_zone))}</p>"
    body = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return f'<div xmlns="{_XHTML}">{head}{about}{body}</div>'


def _study_line(report: CaseReport, time_zone: str) -> str:
    study = report.study
    if study is None:
        return "About a picture without a study."
    at = date_time_text(study.started_at, time_zone=time_zone)
    modality = study.modality or "modality not recorded"
    return f"About: {study.label}, {modality}, {at}. Stage of use: {report.stage}."
