"""A picture that a person uploads: what is asked about it, and never whose chart it came beside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cds.domain.case import AgeGroup
from cds.domain.dates import PartialDate, birth_date_at_age
from cds.domain.patient import ClinicalContext, Demographics
from cds.domain.pixels import PixelFrame
from cds.domain.query import BlockWeights, CaseQuery
from cds.domain.registration import EhrRegistration

UPLOAD = "upload"
UNKNOWN_SEX = "unknown"


@dataclass(frozen=True, slots=True, repr=False)
class UploadedPicture:
    """What came with the form; nothing of it is kept.

    Attributes
    ----------
    content
        A whole DICOM, JPEG or PNG file; untrusted.
    view_position
        ``PA`` or ``AP``, where the file does not say.
    age_years
        At the film, as the user says; None where not said.
    sex
        FHIR administrative gender.

    """

    content: bytes
    view_position: str | None = None
    age_years: int | None = None
    sex: str = UNKNOWN_SEX

    def __repr__(self) -> str:
        return f"UploadedPicture({len(self.content)} bytes, <redacted>)"


def query_of_upload(
    upload: UploadedPicture,
    frames: tuple[PixelFrame, ...],
    registration: EhrRegistration,
    *,
    as_of: datetime,
    weights: BlockWeights,
    cutoff: int,
) -> CaseQuery:
    """Return the question about an uploaded picture; it is bound to no patient.

    The patient that the file names is left out of the answer, under the issuer in the file and as a
    record number of the EHR. A file that says "child" is believed over the form.

    Parameters
    ----------
    upload, frames
        The form, and its file decoded.
    registration
        The EHR whose user asks.
    as_of
        Aware UTC.
    weights, cutoff
        Of this installation.

    """
    named = {f.identity.patient_id_value for f in frames if f.identity.patient_id_value}
    system = registration.mrn_system
    return CaseQuery(
        ehr_id=registration.ehr_id,
        reason=UPLOAD,
        as_of=as_of,
        context=_context(upload, frames, as_of),
        study=None,
        frames=frames,
        weights=weights,
        cutoff=cutoff,
        own_identifiers=tuple((system, value) for value in sorted(named)) if system else (),
    )


def _context(
    upload: UploadedPicture, frames: tuple[PixelFrame, ...], as_of: datetime
) -> ClinicalContext | None:
    born = _child_birth_date(frames, as_of)
    if born is None and upload.age_years is not None:
        born = birth_date_at_age(upload.age_years, as_of)
    if born is None and upload.sex == UNKNOWN_SEX:
        return None
    return ClinicalContext(Demographics(UPLOAD, birth_on=born, sex=upload.sex), read_at=as_of)


def _child_birth_date(frames: tuple[PixelFrame, ...], as_of: datetime) -> PartialDate | None:
    """Return the birth date in the file if this is a child still.

    For an adult the file does not say the age at the film, only the user can.
    """
    for frame in frames:
        born = frame.identity.birth_on
        age_years = born.age_years_at(as_of.date()) if born is not None else None
        if AgeGroup.from_age_years(age_years) is AgeGroup.CHILD:
            return born
    return None
