"""The archive over Debian's Orthanc, a PACS that we did not write."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from cds.adapters.dicom_files import frames_from_dicom
from cds.adapters.egress import EgressClients
from cds.adapters.pacs_archive import DicomwebArchive
from cds.adapters.pacs_gate import PacsGate
from cds.adapters.qido_search import PAGE
from cds.domain.archive import ArchivedStudy, StudySearch
from cds.domain.errors import CdsError, Reason
from cds.domain.pacs_policy import PacsPolicy
from cds.domain.secrecy import SecretText
from tests.builders.dicom import a_dicom_instance, a_ramp
from tests.builders.registration import a_registration
from tests.conftest import missing
from tests.fakes.clock import FixedClock
from tests.servers.orthanc import INSTALL, Orthanc, orthanc_program, running_orthanc

SWIFT = PacsPolicy(requests_per_s=1000, megabytes_per_s=1000)
UID = "1.2.826.0.1.3680043.10.543.77"


def an_archive(orthanc: Orthanc, **overrides: Any) -> DicomwebArchive:
    registration = a_registration(
        **{
            "default_pacs_url": orthanc.dicomweb_url,
            "permitted_networks": ("127.0.0.0/8",),
            "pacs_policy": SWIFT,
            "pacs_time_zone": "Europe/Berlin",
            **overrides,
        }
    )
    client = EgressClients(development=True)(registration)
    gate = PacsGate(registration.pacs_policy)
    return DicomwebArchive(registration, client, gate, clock=FixedClock())


def a_film(study: int, instance: int = 1, *, stored: Any = None, **overrides: Any) -> bytes:
    on = date(2024, 1, 1) + timedelta(days=study)
    return a_dicom_instance(
        stored,
        **{
            "StudyInstanceUID": f"{UID}.{study}",
            "SeriesInstanceUID": f"{UID}.{study}.1",
            "SOPInstanceUID": f"{UID}.{study}.1.{instance}",
            "PatientID": f"P{study % 7}",
            "AccessionNumber": f"A-{study}",
            "StudyDate": f"{on:%Y%m%d}",
            "InstanceNumber": instance,
            **overrides,
        },
    )


def found(archive: DicomwebArchive, **search: Any) -> list[ArchivedStudy]:
    return list(archive.search_studies(StudySearch(**search)))


def test_studies_of_two_years_are_walked_once_each_oldest_first(orthanc: Orthanc) -> None:
    assert orthanc.store(*(a_film(i) for i in reversed(range(0, 700, 23)))) == 31
    studies = found(an_archive(orthanc), from_on=date(2023, 6, 1), to_on=date(2026, 1, 1))
    assert [s.study_instance_uid for s in studies] == [f"{UID}.{i}" for i in range(0, 700, 23)]
    first = studies[0]
    assert (first.patient_id_value, first.accession_number) == ("P0", "A-0")
    assert first.modalities == ("DX",)
    assert first.n_instances == 1
    # 06:41 in Berlin's winter
    assert first.started_at == datetime(2024, 1, 1, 5, 41, tzinfo=UTC)


def test_day_of_more_than_a_page_loses_nothing(orthanc: Orthanc) -> None:
    films = [
        a_film(
            3,
            StudyInstanceUID=f"{UID}.8.{i}",
            SeriesInstanceUID=f"{UID}.8.{i}.1",
            SOPInstanceUID=f"{UID}.8.{i}.1.1",
            StudyTime=f"{i % 24:02d}0000",
        )
        for i in range(PAGE + 5)
    ]
    assert orthanc.store(*films, a_film(4)) == PAGE + 6
    studies = found(an_archive(orthanc), from_on=date(2024, 1, 1), to_on=date(2024, 1, 31))
    expected = {f"{UID}.8.{i}" for i in range(PAGE + 5)} | {f"{UID}.4"}
    assert {s.study_instance_uid for s in studies} == expected
    assert len(studies) == PAGE + 6
    started = [s.started_at for s in studies if s.started_at]
    assert started == sorted(started)


def test_limit_of_results_that_orthanc_keeps_silent_about_loses_nothing(tmp_path: Path) -> None:
    if orthanc_program() is None:
        missing(f"Orthanc with DICOMweb is missing: {INSTALL}.")
    films = [
        a_film(
            3,
            StudyInstanceUID=f"{UID}.8.{i}",
            SeriesInstanceUID=f"{UID}.8.{i}.1",
            SOPInstanceUID=f"{UID}.8.{i}.1.1",
            StudyTime=f"{i % 24:02d}{i:02d}00",
        )
        for i in range(40)
    ]
    with running_orthanc(tmp_path, LimitFindResults=15) as server:
        assert server.store(*films) == 40
        for modalities in ((), ("DX",)):
            studies = found(
                an_archive(server),
                from_on=date(2024, 1, 1),
                to_on=date(2024, 1, 31),
                modalities=modalities,
            )
            assert {s.study_instance_uid for s in studies} == {f"{UID}.8.{i}" for i in range(40)}


def test_modality_and_body_part_are_what_the_archive_says(orthanc: Orthanc) -> None:
    orthanc.store(
        a_film(1),
        a_film(2, Modality="US"),
        a_film(3, BodyPartExamined="KNEE"),
        a_film(4, BodyPartExamined=None),
    )
    archive = an_archive(orthanc)
    range_ = {"from_on": date(2024, 1, 1), "to_on": date(2024, 1, 31)}
    films = found(archive, **range_, modalities=("DX", "CR"))
    assert [s.study_instance_uid for s in films] == [f"{UID}.1", f"{UID}.3", f"{UID}.4"]
    chests = found(archive, **range_, modalities=("DX",), body_parts=("CHEST",))
    assert [(s.study_instance_uid, s.body_part) for s in chests] == [
        (f"{UID}.1", "CHEST"),
        (f"{UID}.4", None),
    ]


def test_films_are_handed_out_as_stored_and_two_at_most(orthanc: Orthanc) -> None:
    contents = [
        a_film(1, i, stored=a_ramp(40 + i, 30), ViewPosition="LL" if i == 3 else "PA")
        for i in range(1, 6)
    ]
    assert orthanc.store(*contents) == 5
    archive = an_archive(orthanc)
    (study,) = found(archive, from_on=date(2024, 1, 1), to_on=date(2024, 1, 31))
    assert (study.n_instances, archive.n_instances(study)) == (5, 5)
    instances = archive.retrieve_instances(study)
    assert [i.sop_instance_uid for i in instances] == [f"{UID}.1.1.1", f"{UID}.1.1.2"]
    for instance, content in zip(instances, contents, strict=False):
        ours, theirs = (pydicom.dcmread(BytesIO(c)) for c in (content, instance.content))
        assert ours.PixelData == theirs.PixelData
        assert ours.file_meta.TransferSyntaxUID == theirs.file_meta.TransferSyntaxUID


def test_slices_of_a_ct_are_chosen_before_they_are_fetched(orthanc: Orthanc) -> None:
    contents = [
        a_film(
            5,
            i,
            Modality="CT",
            SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
            ImagePositionPatient=[0, 0, 5.0 * i],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ViewPosition=None,
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        )
        for i in range(1, 31)
    ]
    assert orthanc.store(*contents) == 30
    archive = an_archive(orthanc)
    (study,) = found(archive, from_on=date(2024, 1, 1), to_on=date(2024, 1, 31))
    assert archive.n_instances(study) == 30
    instances = archive.retrieve_instances(study)
    assert 1 <= len(instances) <= 5
    numbers = [int(i.sop_instance_uid.rpartition(".")[2]) for i in instances]
    assert 14 <= numbers[0] <= 17  # the middle one first
    assert all(1 < n < 30 for n in numbers)


def test_study_that_grows_and_then_goes_is_noticed(orthanc: Orthanc) -> None:
    orthanc.store(a_film(1, 1))
    archive = an_archive(orthanc)
    (study,) = found(archive, from_on=date(2024, 1, 1), to_on=date(2024, 1, 31))
    assert archive.n_instances(study) == 1
    orthanc.store(a_film(1, 2))
    assert archive.n_instances(study) == 2
    orthanc.delete_study(study.study_instance_uid)
    for act in (archive.n_instances, archive.retrieve_instances):
        with pytest.raises(CdsError) as refused:
            act(study)
        assert refused.value.reason is Reason.NO_IMAGING


def test_account_is_asked_for_and_a_wrong_one_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if orthanc_program() is None:
        missing(f"Orthanc with DICOMweb is missing: {INSTALL}.")
    folder = tmp_path_factory.mktemp("orthanc-with-account")
    with running_orthanc(folder, auth=("precedent", "secret")) as server:
        server.store(a_film(1))
        search = {"from_on": date(2024, 1, 1), "to_on": date(2024, 1, 31)}
        account = {"pacs_user": "precedent", "pacs_password": SecretText("secret")}
        assert len(found(an_archive(server, **account), **search)) == 1
        for wrong in ({}, {**account, "pacs_password": SecretText("guessed")}):
            with pytest.raises(CdsError) as refused:
                found(an_archive(server, **wrong), **search)
            assert refused.value.reason is Reason.UPSTREAM_REFUSED


def test_real_objects_are_listed_and_handed_out_or_refused_in_words(
    orthanc: Orthanc, shared_dir: Path
) -> None:
    folder = shared_dir / "data" / "dicom"
    stored = orthanc.store_folder(folder)
    assert sum(stored.values()) >= 150
    archive = an_archive(orthanc)
    studies = found(archive)
    listed = {s.study_instance_uid for s in studies}
    # Orthanc compares dates as text: ACR-NEMA's 1997.04.24 and no date at all are in no month.
    dated = {
        uid
        for uid, on in orthanc.study_dates().items()
        if re.fullmatch(r"\d{8}", on) and re.fullmatch(r"[\d.]+", uid)
    }
    assert listed == dated
    assert len(studies) == len(listed) >= 30
    handed_out, refused = 0, set()
    for study in studies:
        try:
            instances = archive.retrieve_instances(study)
        except CdsError as error:
            refused.add(error.reason)
            continue
        handed_out += 1
        assert 1 <= len(instances) <= 5
        assert len({i.series_instance_uid for i in instances}) <= 2
    assert refused <= {Reason.IMAGE_UNSUPPORTED, Reason.NO_IMAGING}
    assert handed_out >= 20


@pytest.mark.parametrize("name", ["highdicom/dx_image.dcm", "dicom-test-files/J2KI/RG1_J2KI.dcm"])
def test_real_film_is_the_same_picture_after_its_way_through_the_archive(
    orthanc: Orthanc, shared_dir: Path, name: str
) -> None:
    content = (shared_dir / "data" / "dicom" / name).read_bytes()
    assert orthanc.store(content) == 1
    archive = an_archive(orthanc)
    (study,) = found(archive)
    (instance,) = archive.retrieve_instances(study)
    (ours,) = frames_from_dicom(content, isolate=False)
    (theirs,) = frames_from_dicom(instance.content, isolate=False)
    assert np.array_equal(ours.pixels, theirs.pixels)
    assert ours.identity == theirs.identity
