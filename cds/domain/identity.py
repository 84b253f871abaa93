"""Is the picture this patient's and this study's? Compared before anything is analysed.

Only kinds of fields are named in a refusal, never their values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from cds.domain.patient import Demographics
    from cds.domain.pixels import PictureIdentity
    from cds.domain.registration import EhrRegistration
    from cds.domain.study import StudyRef

_SEX_IN_DICOM = {"male": "M", "female": "F"}

Comparison = dict[str, bool]


def check_identity(
    identity: PictureIdentity,
    demographics: Demographics,
    study: StudyRef | None,
    registration: EhrRegistration,
) -> None:
    """Compare what the picture says with the FHIR Patient and ImagingStudy (SAFETY R-ID-1).

    A field that one side lacks does not differ. The Patient ID or the birth date must be
    comparable: otherwise nothing ties the picture to the patient. With no identifier system agreed
    the Patient ID alone ties nothing, since another hospital may have given the same number to
    somebody else: then the birth date or the Study UID must be comparable as well.

    Parameters
    ----------
    identity
        From the picture.
    demographics
        From the FHIR Patient; several record numbers (a merged patient) are all valid.
    study
        From the caller's FHIR answer; None where there is none (an upload).
    registration
        Says which identifier system and issuer the Patient ID belongs to.

    Raises
    ------
    CdsError
        IDENTITY_MISMATCH, with the kinds of fields that differ in the fact ``fields``.

    """
    compared = {
        **_patient_fields(identity, demographics, registration),
        **_study_fields(identity, study),
    }
    differing = [kind for kind, agrees in compared.items() if not agrees]
    if differing:
        raise CdsError(
            Reason.IDENTITY_MISMATCH,
            f"The picture does not match this chart: {', '.join(differing)} differ. "
            "Tell the PACS team.",
            fields=",".join(differing),
        )
    if registration.mrn_system is None and not compared.keys() & {"birth date", "study UID"}:
        raise CdsError(
            Reason.IDENTITY_MISMATCH,
            "It could not be confirmed that the picture is of this patient: no identifier system "
            "is agreed for its patient ID, and neither birth date nor study UID can be compared. "
            "Tell the PACS team.",
            fields="none",
        )
    if not compared.keys() & {"patient ID", "birth date"}:
        raise CdsError(
            Reason.IDENTITY_MISMATCH,
            "It could not be confirmed that the picture is of this patient: it carries neither a "
            "patient ID nor a birth date that can be compared. Tell the PACS team.",
            fields="none",
        )


def own_namespace(ehr_id: str) -> str:
    """Return the namespace of record numbers for which an EHR names no system.

    Two hospitals' numbers are never one patient's because both lack a system.
    """
    return f"urn:precedent:ehr:{ehr_id}"


def patient_id_value(demographics: Demographics, registration: EhrRegistration) -> str | None:
    """Return the record number that this EHR's pictures carry, or None if it is not known."""
    values = _record_numbers(demographics, registration)
    return values[0] if values else None


def _patient_fields(
    identity: PictureIdentity, demographics: Demographics, registration: EhrRegistration
) -> Comparison:
    compared: Comparison = {}
    if identity.issuer and registration.pacs_issuer:
        compared["issuer of patient ID"] = identity.issuer == registration.pacs_issuer
    numbers = _record_numbers(demographics, registration)
    if identity.patient_id_value and numbers:
        compared["patient ID"] = identity.patient_id_value in numbers
    if identity.birth_on and demographics.birth_on:
        compared["birth date"] = identity.birth_on.agrees_with(demographics.birth_on)
    recorded_sex = _SEX_IN_DICOM.get(demographics.sex)
    if identity.sex in {"M", "F"} and recorded_sex:
        compared["sex"] = identity.sex == recorded_sex
    return compared


def _study_fields(identity: PictureIdentity, study: StudyRef | None) -> Comparison:
    compared: Comparison = {}
    if study is None:
        return compared
    if identity.study_instance_uid and study.study_instance_uid:
        compared["study UID"] = identity.study_instance_uid == study.study_instance_uid
    if identity.accession_number and study.accession_number:
        compared["accession number"] = identity.accession_number == study.accession_number
    return compared


def _record_numbers(demographics: Demographics, registration: EhrRegistration) -> tuple[str, ...]:
    """Return the identifiers that a Patient ID may equal; with no system agreed, any of them."""
    wanted = registration.mrn_system
    return tuple(
        identifier.value.strip()
        for identifier in demographics.identifiers
        if identifier.value.strip() and (wanted is None or identifier.system == wanted)
    )
