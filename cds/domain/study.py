"""An imaging study as the record names it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

STUDY_LABELS = {
    "CR": "film",
    "DX": "film",
    "DR": "film",
    "CT": "CT",
    "MR": "MR",
    "US": "ultrasound",
}


class ReportState(StrEnum):
    """How far a human report of the study has come."""

    NONE = "none"
    PRELIMINARY = "preliminary"
    FINAL = "final"


@dataclass(frozen=True, slots=True, repr=False)
class StudyRef:
    """A study that the caller's own FHIR answer listed.

    Attributes
    ----------
    study_instance_uid
        None while only the accession number is known.
    accession_number
        Identifier of type ACSN; None where not given.
    imaging_study_id
        FHIR logical id of the ImagingStudy, None where the study was found by accession number.
    dicomweb_url
        Endpoint.address of connection type dicom-wado-rs; None means the EHR's default PACS.
    started_at
        Aware UTC time of the study, None where not given.
    report_state
        The most advanced human report of this study in the caller's FHIR answer.

    """

    study_instance_uid: str | None = None
    accession_number: str | None = None
    imaging_study_id: str | None = None
    modality: str | None = None
    body_part: str | None = None
    description: str | None = None
    started_at: datetime | None = None
    dicomweb_url: str | None = None
    n_instances: int | None = None
    report_state: ReportState = ReportState.NONE

    def __post_init__(self) -> None:
        if self.study_instance_uid is None and self.accession_number is None:
            raise ValueError("a study needs a Study Instance UID or an accession number")

    @property
    def label(self) -> str:
        """Return what a card calls the study, for example ``Chest film``."""
        kind = STUDY_LABELS.get(self.modality or "", "study")
        part = (self.body_part or "").strip().capitalize()
        return f"{part} {kind}".strip() if part else kind.capitalize()

    def __repr__(self) -> str:
        return f"StudyRef({self.modality}, <redacted>)"
