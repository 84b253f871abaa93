"""The archive over Debian's Orthanc, a PACS that we did not write."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from cds.adapters.egress import EgressClients
from cds.adapters.pacs_archive import DicomwebArchive
from cds.adapters.pacs_gate import PacsGate
from cds.domain.archive import ArchivedStudy, StudySearch
from cds.domain.pacs_policy import PacsPolicy
from tests.builders.dicom import a_dicom_instance
from tests.builders.registration import a_registration
from tests.fakes.clock import FixedClock
from tests.servers.orthanc import Orthanc

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


def a_film(study: int, instance: int = 1, **overrides: Any) -> bytes:
    on = date(2024, 1, 1) + timedelta(days=study)
    return a_dicom_instance(
        **{
            "StudyInstanceUID": f"{UID}.{study}",
            "SeriesInstanceUID": f"{UID}.{study}.1",
            "SOPInstanceUID": f"{UID}.{study}.1.{instance}",
            "PatientID": f"P{study % 7}",
            "AccessionNumber": f"A-{study}",
            "StudyDate": f"{on:%Y%m%d}",
            "InstanceNumber": instance,
            **overrides,
        }
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
