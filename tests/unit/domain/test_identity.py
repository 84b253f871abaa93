from __future__ import annotations

from dataclasses import replace

import pytest

from cds.domain.dates import PartialDate
from cds.domain.errors import CdsError, Reason
from cds.domain.identity import check_identity, patient_id_value
from cds.domain.patient import BusinessIdentifier, Demographics
from cds.domain.pixels import PictureIdentity
from cds.domain.registration import EhrRegistration
from cds.domain.study import StudyRef

MRN = "urn:oid:2.999.1"
REGISTRATION = EhrRegistration(
    ehr_id="a",
    name="A",
    fhir_base_url="https://ehr.example.invalid/fhir",
    client_id="c",
    mrn_system=MRN,
    pacs_issuer="HOSPITAL-A",
)
PATIENT = Demographics(
    patient_id="1",
    identifiers=(
        BusinessIdentifier("P100", MRN),
        BusinessIdentifier("P077", MRN),  # merged into P100
        BusinessIdentifier("123-45-6789", "http://hl7.org/fhir/sid/us-ssn"),
    ),
    birth_on=PartialDate(1959, 3, 14),
    sex="female",
)
STUDY = StudyRef(study_instance_uid="1.2.3", accession_number="A-1")
PICTURE = PictureIdentity(
    patient_id_value="P100",
    issuer="HOSPITAL-A",
    birth_on=PartialDate(1959, 3, 14),
    sex="F",
    study_instance_uid="1.2.3",
    accession_number="A-1",
)


@pytest.mark.parametrize(
    ("picture", "patient", "study"),
    [
        pytest.param(PICTURE, PATIENT, STUDY, id="all-agree"),
        pytest.param(replace(PICTURE, patient_id_value="P077"), PATIENT, STUDY, id="merged-number"),
        pytest.param(
            replace(PICTURE, patient_id_value=None, issuer=None), PATIENT, STUDY, id="no-patient-id"
        ),
        pytest.param(
            replace(PICTURE, birth_on=None, sex=None), PATIENT, STUDY, id="only-patient-id"
        ),
        pytest.param(PICTURE, replace(PATIENT, birth_on=PartialDate(1959)), STUDY, id="birth-year"),
        pytest.param(replace(PICTURE, sex="O"), PATIENT, STUDY, id="other-sex-in-picture"),
        pytest.param(PICTURE, replace(PATIENT, sex="unknown"), STUDY, id="unknown-sex-in-record"),
        pytest.param(
            replace(PICTURE, accession_number=None), PATIENT, STUDY, id="no-accession-in-picture"
        ),
        pytest.param(PICTURE, PATIENT, StudyRef(accession_number="A-1"), id="accession-only"),
        pytest.param(PICTURE, PATIENT, None, id="upload-without-study"),
        pytest.param(replace(PICTURE, issuer=None), PATIENT, STUDY, id="no-issuer"),
    ],
)
def test_picture_that_agrees_or_lacks_fields_is_accepted(
    picture: PictureIdentity, patient: Demographics, study: StudyRef | None
) -> None:
    check_identity(picture, patient, study, REGISTRATION)


@pytest.mark.parametrize(
    ("picture", "fields"),
    [
        pytest.param(
            PictureIdentity("P200", "HOSPITAL-A", PartialDate(1980, 1, 2), "M", "1.2.9", "A-9"),
            "patient ID,birth date,sex,study UID,accession number",
            id="swapped-patient",
        ),
        pytest.param(replace(PICTURE, patient_id_value="P101"), "patient ID", id="patient-id"),
        pytest.param(
            replace(PICTURE, patient_id_value="123-45-6789"),
            "patient ID",
            id="number-of-other-system",
        ),
        pytest.param(replace(PICTURE, issuer="HOSPITAL-B"), "issuer of patient ID", id="issuer"),
        pytest.param(replace(PICTURE, birth_on=PartialDate(1959, 4, 14)), "birth date", id="birth"),
        pytest.param(replace(PICTURE, sex="M"), "sex", id="sex"),
        pytest.param(replace(PICTURE, study_instance_uid="1.2.4"), "study UID", id="study"),
        pytest.param(replace(PICTURE, accession_number="A-2"), "accession number", id="accession"),
        pytest.param(PictureIdentity(study_instance_uid="1.2.3"), "none", id="nothing-comparable"),
        pytest.param(PictureIdentity(sex="F"), "none", id="sex-alone"),
    ],
)
def test_picture_that_differs_or_cannot_be_tied_is_refused_without_values(
    picture: PictureIdentity, fields: str
) -> None:
    with pytest.raises(CdsError) as caught:
        check_identity(picture, PATIENT, STUDY, REGISTRATION)
    assert caught.value.reason == Reason.IDENTITY_MISMATCH
    assert caught.value.facts["fields"] == fields
    text = f"{caught.value} {caught.value.facts}"
    for value in ("P100", "P200", "P101", "1959", "1980", "1.2.3", "1.2.9", "A-1", "A-9"):
        assert value not in text


def test_record_number_is_not_compared_when_the_patient_has_none_of_the_agreed_system() -> None:
    patient = replace(PATIENT, identifiers=(BusinessIdentifier("X", "urn:other"),), birth_on=None)
    with pytest.raises(CdsError, match="could not be confirmed"):
        check_identity(PICTURE, patient, STUDY, REGISTRATION)


def test_any_identifier_counts_when_no_system_is_agreed() -> None:
    registration = replace(REGISTRATION, mrn_system=None, pacs_issuer=None)
    picture = replace(PICTURE, patient_id_value="123-45-6789")
    check_identity(picture, PATIENT, STUDY, registration)


@pytest.mark.parametrize(
    ("picture", "patient"),
    [
        pytest.param(replace(PICTURE, birth_on=None), PATIENT, id="picture-without-birth-date"),
        pytest.param(PICTURE, replace(PATIENT, birth_on=None), id="record-without-birth-date"),
    ],
)
def test_number_alone_ties_nothing_when_no_system_is_agreed(
    picture: PictureIdentity, patient: Demographics
) -> None:
    check_identity(picture, patient, None, REGISTRATION)
    registration = replace(REGISTRATION, mrn_system=None, pacs_issuer=None)
    check_identity(picture, patient, STUDY, registration)
    with pytest.raises(CdsError, match="no identifier system is agreed") as caught:
        check_identity(picture, patient, StudyRef(accession_number="A-1"), registration)
    assert caught.value.reason is Reason.IDENTITY_MISMATCH
    assert "P100" not in str(caught.value)


@pytest.mark.parametrize(
    ("patient", "expected"),
    [(PATIENT, "P100"), (replace(PATIENT, identifiers=()), None)],
    ids=["first-of-the-system", "none"],
)
def test_patient_id_value_is_the_agreed_record_number(
    patient: Demographics, expected: str | None
) -> None:
    assert patient_id_value(patient, REGISTRATION) == expected
