"""Which ImagingStudy, and which patient, an archived study belongs to."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PictureIdentity
from cds.domain.study import StudyRef
from cds.fhir.dates import moment
from cds.fhir.imaging_study import is_ignored, study_from_imaging_study, study_instance_uid
from cds.fhir.shapes import accession_numbers, subject_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cds.domain.archive import ArchivedStudy
    from cds.fhir.shapes import Resource

SAME_TIME = timedelta(minutes=30)  # clocks of modality and record differ by minutes, not by hours
NOT_PICTURES = frozenset({"SR", "PR", "KO", "SEG", "DOC", "REG"})


def matching_imaging_study(
    study: ArchivedStudy, candidates: Iterable[Resource], *, by_time: bool = False
) -> Resource | None:
    """Return the ImagingStudy of an archived study, or None.

    By Study Instance UID, else by accession number. A resource with another UID is another study,
    whatever its accession number. A weak server ignores what it was asked: every answer is checked.

    Parameters
    ----------
    study
        As the PACS lists it.
    candidates
        ImagingStudies; with `by_time` those of the study's own patient only.
    by_time
        Also accept the one study without UID and accession number that started within half an hour.

    Raises
    ------
    CdsError
        IDENTITY_MISMATCH if several of them that match belong to different patients.

    """
    usable = [c for c in candidates if not is_ignored(c)]
    same_uid = [c for c in usable if study_instance_uid(c) == study.study_instance_uid]
    unnamed = [c for c in usable if study_instance_uid(c) is None]
    same_number = [c for c in unnamed if study.accession_number in accession_numbers(c)]
    found = same_uid or same_number
    if not found and by_time:
        near = [c for c in unnamed if not accession_numbers(c) and _is_near(study, c)]
        found = near if len(near) == 1 else []
    if len({subject_id(c) for c in found}) > 1:
        raise CdsError(
            Reason.IDENTITY_MISMATCH,
            "The record names this study for more than one patient. Tell the EHR team.",
            fields="subject",
        )
    return found[0] if found else None


def identity_of(study: ArchivedStudy) -> PictureIdentity:
    """Return what the PACS says about whose a study is, to be compared with the record."""
    return PictureIdentity(
        patient_id_value=study.patient_id_value,
        issuer=study.issuer,
        study_instance_uid=study.study_instance_uid,
        accession_number=study.accession_number,
    )


def recorded_study(imaging_study: Resource | None) -> StudyRef | None:
    """Return the study as the record names it, None if it does not."""
    return None if imaging_study is None else study_from_imaging_study(imaging_study)


def joined_study(study: ArchivedStudy, recorded: StudyRef | None) -> StudyRef:
    """Return the study as both sides name it; the pictures' own facts come first."""
    modality = next((m for m in study.modalities if m not in NOT_PICTURES), None)
    return StudyRef(
        study_instance_uid=study.study_instance_uid,
        accession_number=study.accession_number
        or (recorded.accession_number if recorded else None),
        imaging_study_id=recorded.imaging_study_id if recorded else None,
        modality=modality or (recorded.modality if recorded else None),
        body_part=study.body_part or (recorded.body_part if recorded else None),
        started_at=study.started_at or (recorded.started_at if recorded else None),
    )


def _is_near(study: ArchivedStudy, candidate: Resource) -> bool:
    started_at = moment(candidate.get("started"))
    if started_at is None or study.started_at is None:
        return False
    return abs(started_at - study.started_at) <= SAME_TIME
