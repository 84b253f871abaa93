"""What a PACS holds, asked of an Orthanc: instances, their patient, rejections, new studies."""

from collections.abc import Iterator
from datetime import date

import pytest

from cds.adapters.egress import EgressClients
from cds.adapters.study_inventory import DicomwebInventories
from cds.domain.arrival import StudyInventory
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration
from cds.domain.secrecy import SecretText
from cds.domain.study import StudyRef
from cds.domain.time_limit import TimeLimit
from cds.ports import FhirAccess
from tests.builders.dicom import STUDY_INSTANCE_UID
from tests.builders.registration import a_registration
from tests.fakes.arrival_hospital import ENROLLED, a_film, a_rejection_note
from tests.servers.orthanc import INSTALL, Orthanc, orthanc_program, running_orthanc

FILM = f"{STUDY_INSTANCE_UID}.1.1"
ACCOUNT = ("precedent", "secret")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if orthanc_program() is None:
        pytest.skip(f"Orthanc is not installed: {INSTALL}")
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), auth=ACCOUNT) as server:
        yield server


@pytest.fixture
def pacs(started: Orthanc) -> Orthanc:
    started.clear()
    return started


def registration_of(pacs: Orthanc) -> EhrRegistration:
    return a_registration(
        default_pacs_url=pacs.dicomweb_url,
        pacs_user=ACCOUNT[0],
        pacs_password=SecretText(ACCOUNT[1]),
        permitted_networks=("127.0.0.0/8",),
        arrival=ENROLLED,
    )


def inventory(pacs: Orthanc, study: StudyRef | None = None) -> StudyInventory:
    inventories = DicomwebInventories(EgressClients(development=True))
    return inventories.inventory(
        FhirAccess(registration_of(pacs), None, "p100"),
        study or StudyRef(study_instance_uid=STUDY_INSTANCE_UID),
        patient_id_value="P100",
        deadline=TimeLimit(30),
    )


def test_inventory_names_instances_and_whose_they_are(pacs: Orthanc) -> None:
    pacs.store(a_film(1), a_film(2))
    found = inventory(pacs)
    assert {sop for _, sop in found.instances} == {FILM, f"{STUDY_INSTANCE_UID}.1.2"}
    assert (found.identity.patient_id_value, found.identity.sex) == ("P100", "F")
    assert str(found.identity.birth_on) == "1959-03-14"
    assert (found.n_stated, found.modalities, found.rejected) == (2, ("DX",), frozenset())


def test_inventory_is_found_by_accession_number_too(pacs: Orthanc) -> None:
    pacs.store(a_film())
    found = inventory(pacs, StudyRef(accession_number="A-1"))
    assert found.identity.study_instance_uid == STUDY_INSTANCE_UID


def test_fingerprint_stays_until_something_changes(pacs: Orthanc) -> None:
    pacs.store(a_film())
    first = inventory(pacs).fingerprint
    assert inventory(pacs).fingerprint == first
    pacs.store(a_film(2))
    assert inventory(pacs).fingerprint != first
    pacs.clear()
    pacs.store(a_film(PatientID="P999"))
    assert inventory(pacs).fingerprint != first


def test_rejection_note_names_what_it_rejects(pacs: Orthanc) -> None:
    pacs.store(a_film(1), a_film(2), a_rejection_note(FILM))
    found = inventory(pacs)
    assert (found.rejected, found.is_rejected) == (frozenset({FILM}), False)


def test_key_object_with_another_title_rejects_nothing(pacs: Orthanc) -> None:
    pacs.store(a_film(1), a_rejection_note(FILM, code="113000"))  # "Of Interest"
    assert inventory(pacs).rejected == frozenset()


def test_study_that_is_not_there_is_no_imaging(pacs: Orthanc) -> None:
    with pytest.raises(CdsError) as refused:
        inventory(pacs)
    assert refused.value.reason is Reason.NO_IMAGING


def test_new_studies_are_listed_by_day_and_enrolled_modality(pacs: Orthanc) -> None:
    pacs.store(a_film(1), a_film(2), a_film(3, StudyInstanceUID="1.2.840.99.2", Modality="CT"))
    inventories = DicomwebInventories(EgressClients(development=True))

    def since(first_on: date) -> list[tuple[str, int | None]]:
        found = inventories.since(registration_of(pacs), first_on, deadline=TimeLimit(30))
        return [(study.study_instance_uid, study.n_instances) for study in found]

    assert since(date(2026, 1, 4)) == [(STUDY_INSTANCE_UID, 2)]
    assert since(date(2026, 1, 6)) == []
