"""Which human reports are about a study, what they say in words and codes, and since when."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from cds.domain.coding import SNOMED_CT, Coding
from cds.domain.facts import Finding
from cds.fhir.dates import effective_at, moment
from cds.fhir.report_state import is_about, is_by_software
from cds.fhir.shapes import (
    Resource,
    accession_numbers,
    codings,
    concept_text,
    has_code,
    items,
    mapping,
    reference_id,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cds.domain.study import StudyRef

FINAL = frozenset({"final", "amended", "corrected", "appended"})
# v2-0074 (radiology, CT, MR, ultrasound, nuclear, cardiac), LOINC class and document type.
IMAGING_CATEGORIES = ("RAD", "RX", "CT", "NMR", "RUS", "NMS", "CUS", "LP29684-5", "18748-4")
SAME_STUDY = timedelta(hours=6)  # a report without link or number: written about this film, or not
_NEVER = datetime.max.replace(tzinfo=UTC)
MAX_TEXT = 100_000  # characters of one report; a longer one is no radiology report


@dataclass(frozen=True, slots=True, repr=False)
class StudyReport:
    """One final human report of a study.

    Attributes
    ----------
    known_at
        When it was issued, else when the server stored it, else when the study was.
    text
        As written: conclusion and attached plain text; about other people, so never shown as is.

    """

    resource: Resource
    known_at: datetime | None
    text: str
    findings: tuple[Finding, ...]

    def __repr__(self) -> str:
        return "StudyReport(<redacted>)"


def reports_of_study(
    study: StudyRef,
    imaging_study: Resource | None,
    reports: Iterable[Resource],
    *,
    other_studies: Iterable[Resource] = (),
) -> tuple[StudyReport, ...]:
    """Return the final human reports of a study, oldest first.

    A report belongs to the study if it refers to its ImagingStudy, shares its accession number or
    its order; a report of none of these only if it is an imaging report of the same encounter
    within hours, and no other study of that encounter is as near: R4 has no better link.

    Parameters
    ----------
    study
        As PACS and record name it.
    imaging_study
        Its resource, None if the record has none.
    reports
        DiagnosticReports of the patient.
    other_studies
        Further ImagingStudies of the patient.

    """
    neighbours = tuple(other_studies)
    found = [
        _read(report)
        for report in reports
        if report.get("status") in FINAL
        and not is_by_software(report)
        and (
            _is_linked(report, study, imaging_study)
            or _is_beside(report, study, imaging_study, neighbours)
        )
    ]
    return tuple(sorted(found, key=lambda r: r.known_at or _NEVER))


def coded(concept: object) -> Coding | None:
    """Return what a CodeableConcept says, with its SNOMED CT code where it has one."""
    snomed = next((c for c in codings(concept) if c.get("system") == SNOMED_CT), None)
    display = concept_text(concept) or (text(snomed.get("code")) if snomed else None)
    if display is None:
        return None
    return Coding(display, text(snomed.get("code")) if snomed else None)


def _is_linked(report: Resource, study: StudyRef, imaging_study: Resource | None) -> bool:
    if imaging_study is not None and is_about(report, imaging_study):
        return True
    return study.accession_number is not None and study.accession_number in accession_numbers(
        report
    )


def _is_beside(
    report: Resource,
    study: StudyRef,
    imaging_study: Resource | None,
    other_studies: tuple[Resource, ...],
) -> bool:
    links = (items(report.get("imagingStudy")), items(report.get("basedOn")))
    names_a_study = any(links) or bool(accession_numbers(report))
    if names_a_study or imaging_study is None or study.started_at is None:
        return False
    encounter_id = reference_id(imaging_study.get("encounter"), "Encounter")
    about_at = effective_at(report)
    if encounter_id is None or about_at is None:
        return False
    is_imaging = any(has_code(c, *IMAGING_CATEGORIES) for c in items(report.get("category")))
    is_same_stay = reference_id(report.get("encounter"), "Encounter") == encounter_id
    if not (is_imaging and is_same_stay and abs(about_at - study.started_at) <= SAME_STUDY):
        return False
    times = [moment(other.get("started")) for other in other_studies]
    return all(at is None or abs(about_at - at) > SAME_STUDY for at in times)


def _read(report: Resource) -> StudyReport:
    stored_at = moment(mapping(report.get("meta")).get("lastUpdated"))
    known_at = moment(report.get("issued")) or stored_at or effective_at(report)
    concepts = (coded(concept) for concept in items(report.get("conclusionCode")))
    return StudyReport(
        resource=report,
        known_at=known_at,
        text=_words(report),
        findings=tuple(
            Finding(coding, "report", known_at=known_at) for coding in concepts if coding
        ),
    )


def _words(report: Resource) -> str:
    parts = [text(report.get("conclusion")), *map(_plain, items(report.get("presentedForm")))]
    written = "\n".join(part for part in parts if part)
    if not written:
        written = _without_markup(text(mapping(report.get("text")).get("div")) or "")
    return written[:MAX_TEXT]


def _plain(attachment: Resource) -> str | None:
    kind = (text(attachment.get("contentType")) or "").split(";")[0].strip().lower()
    encoded = text(attachment.get("data"))
    if kind != "text/plain" or encoded is None:
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8").strip()
    except (binascii.Error, ValueError):
        return None


def _without_markup(div: str) -> str:
    reader = _Words()
    reader.feed(div)
    reader.close()
    return " ".join(" ".join(reader.words).split())


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)
