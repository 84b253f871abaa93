"""One suite for every image source: over DICOMweb, from a folder, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cds.adapters.dicom_files import frames_from_dicom
from cds.adapters.dicom_folder import DicomFolderSource
from cds.adapters.dicomweb import DicomwebSource
from cds.adapters.egress import EgressClients
from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from cds.domain.study import StudyRef
from cds.domain.time_limit import TimeLimit
from cds.ports import FhirAccess, ImageSource
from tests.builders.dicom import STUDY_INSTANCE_UID, a_dicom_instance, a_ramp
from tests.builders.fhir import PATIENT_ID
from tests.builders.registration import a_registration
from tests.fakes.dicomweb_server import DicomwebServer
from tests.fakes.http_server import a_server
from tests.fakes.image_source import FakeImageSource

Make = Callable[[bytes], ImageSource]
BY_UID = StudyRef(study_instance_uid=STUDY_INSTANCE_UID, modality="DX")
BY_ACCESSION = StudyRef(accession_number="A-1")
ACCESS = FhirAccess(a_registration(), None, PATIENT_ID)
decode = partial(frames_from_dicom, isolate=False)


@pytest.fixture(params=["dicomweb", "folder", "fake"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def over_dicomweb(content: bytes) -> ImageSource:
            server = stack.enter_context(a_server(DicomwebServer(content)))
            registration = a_registration(
                default_pacs_url=f"{server.url}/dicomweb", permitted_networks=("127.0.0.0/8",)
            )
            clients = EgressClients(development=True)
            return DicomwebSource(lambda _: clients(registration), decode=decode)

        def from_folder(content: bytes) -> ImageSource:
            (tmp_path / "deep").mkdir()
            (tmp_path / "deep" / "one.dcm").write_bytes(content)
            (tmp_path / "notes.txt").write_text("no DICOM object")
            return DicomFolderSource(tmp_path, decode=decode)

        def in_memory(content: bytes) -> ImageSource:
            return FakeImageSource({STUDY_INSTANCE_UID: content})

        makers = {"dicomweb": over_dicomweb, "folder": from_folder, "fake": in_memory}
        yield makers[request.param]


def asked(
    source: ImageSource,
    study: StudyRef,
    *,
    patient_id_value: str | None = "P100",
    seconds: float = 10,
) -> tuple[PixelFrame, ...]:
    if isinstance(source, DicomwebSource):
        registration = source._client_for(ACCESS.registration).registration
        access = FhirAccess(registration, None, PATIENT_ID)
    else:
        access = ACCESS
    return source.retrieve_frames(
        access, study, patient_id_value=patient_id_value, deadline=TimeLimit(seconds)
    )


@pytest.mark.parametrize("study", [BY_UID, BY_ACCESSION], ids=["by-uid", "by-accession"])
def test_study_gives_its_frame_with_identity(make: Make, study: StudyRef) -> None:
    content = a_dicom_instance(a_ramp(80, 90), WindowCenter=2048, WindowWidth=4096)
    (frame,) = asked(make(content), study)
    np.testing.assert_allclose(frame.pixels, a_ramp(80, 90) / 4095.0, atol=1e-6)
    assert frame.identity.study_instance_uid == STUDY_INSTANCE_UID
    assert frame.identity.patient_id_value == "P100"


@pytest.mark.parametrize(
    ("study", "patient_id_value"),
    [
        pytest.param(StudyRef(study_instance_uid="1.2.3.4"), "P100", id="unknown-uid"),
        pytest.param(StudyRef(accession_number="A-2"), "P100", id="unknown-accession"),
        pytest.param(BY_ACCESSION, "P200", id="accession-of-another-patient"),
    ],
)
def test_unknown_study_is_no_imaging(make: Make, study: StudyRef, patient_id_value: str) -> None:
    source = make(a_dicom_instance())
    with pytest.raises(CdsError) as caught:
        asked(source, study, patient_id_value=patient_id_value)
    assert caught.value.reason == Reason.NO_IMAGING


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(a_dicom_instance()[:-100], Reason.IMAGE_UNREADABLE, id="truncated"),
        pytest.param(
            a_dicom_instance(Modality="SR", PixelData=None), Reason.IMAGE_UNSUPPORTED, id="report"
        ),
        pytest.param(
            a_dicom_instance(Manufacturer="Precedent"), Reason.IMAGE_UNSUPPORTED, id="own-result"
        ),
    ],
)
def test_picture_that_cannot_be_used_is_a_reason(
    make: Make, content: bytes, reason: Reason
) -> None:
    source = make(content)
    with pytest.raises(CdsError) as caught:
        asked(source, BY_UID)
    assert caught.value.reason == reason
