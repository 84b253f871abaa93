from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from cds.adapters.dicom_files import frames_from_dicom
from cds.adapters.dicomweb import DicomwebSource
from cds.adapters.egress import EgressClients
from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from cds.domain.secrecy import SecretText
from cds.domain.study import StudyRef
from cds.domain.time_limit import TimeLimit
from cds.ports import FhirAccess
from tests.builders.dicom import (
    SERIES_INSTANCE_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    a_dicom_instance,
)
from tests.builders.fhir import PATIENT_ID
from tests.builders.registration import a_registration
from tests.fakes.dicomweb_server import DicomwebServer
from tests.fakes.http_server import LocalServer, a_server

TOKEN = SecretText("token-of-the-launch")
BASIC = "Basic cHJlY2VkZW50OnNlY3JldA=="  # precedent:secret
STUDY = StudyRef(study_instance_uid=STUDY_INSTANCE_UID, modality="DX")
BY_ACCESSION = StudyRef(accession_number="A-1")


class Pacs:
    """A DICOMweb server, and the source that asks it."""

    def __init__(self, dicomweb: DicomwebServer, server: LocalServer) -> None:
        self.dicomweb = dicomweb
        self.server = server

    @property
    def root(self) -> str:
        return f"{self.server.url}/dicomweb"

    def frames(
        self, study: StudyRef = STUDY, *, patient_id_value: str | None = "P100", **overrides: Any
    ) -> tuple[PixelFrame, ...]:
        seconds = overrides.pop("seconds", 10)
        registration = a_registration(
            **{
                "default_pacs_url": self.root,
                "permitted_networks": ("127.0.0.0/8",),
                "pacs_user": "precedent",
                "pacs_password": SecretText("secret"),
                **overrides,
            }
        )
        source = DicomwebSource(
            EgressClients(development=True), decode=partial(frames_from_dicom, isolate=False)
        )
        return source.retrieve_frames(
            FhirAccess(registration, TOKEN, PATIENT_ID),
            study,
            patient_id_value=patient_id_value,
            deadline=TimeLimit(seconds),
        )

    @property
    def paths(self) -> list[str]:
        return [asked.path.removeprefix("/dicomweb") for asked in self.server.asked]


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    dicomweb = DicomwebServer(a_dicom_instance())
    with a_server(dicomweb) as server:
        yield Pacs(dicomweb, server)


def refusal(pacs: Pacs, study: StudyRef = STUDY, **options: Any) -> CdsError:
    with pytest.raises(CdsError) as caught:
        pacs.frames(study, **options)
    return caught.value


def a_slice(i: int, n: int) -> bytes:
    return a_dicom_instance(
        Modality="CT",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
        SOPInstanceUID=f"{SOP_INSTANCE_UID}.{i}",
        InstanceNumber=n - i,
        ImagePositionPatient=[0, 0, float(i)],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        ViewPosition="",
    )


def test_film_is_searched_then_retrieved_as_stored(pacs: Pacs) -> None:
    (frame,) = pacs.frames()
    assert frame.sop_instance_uid == SOP_INSTANCE_UID
    series = f"/studies/{STUDY_INSTANCE_UID}/series/{SERIES_INSTANCE_UID}"
    assert pacs.paths == [
        f"/studies/{STUDY_INSTANCE_UID}/series",
        f"{series}/instances",
        f"{series}/instances/{SOP_INSTANCE_UID}",
    ]
    retrieved = pacs.server.asked[-1]
    assert retrieved.headers["accept"] == (
        'multipart/related; type="application/dicom"; transfer-syntax=*'
    )
    assert retrieved.headers["host"] == f"127.0.0.1:{pacs.server.port}"


def test_only_the_key_slices_of_a_ct_are_retrieved_the_middle_one_first(pacs: Pacs) -> None:
    pacs.dicomweb.contents = [a_slice(i, 41) for i in range(41)]
    frames = pacs.frames(StudyRef(study_instance_uid=STUDY_INSTANCE_UID, modality="CT"))
    assert [frame.sop_instance_uid for frame in frames] == [
        f"{SOP_INSTANCE_UID}.{i}" for i in (20, 8, 14, 26, 32)
    ]
    places = [frame.slice_place for frame in frames]
    assert [p and p.number for p in places] == [21, 33, 27, 15, 9]  # as the series counts them
    assert {p and p.n_slices for p in places} == {41}
    assert sum("/instances/" in path for path in pacs.paths) == 5


def test_key_slice_that_is_damaged_leaves_the_others(pacs: Pacs) -> None:
    pacs.dicomweb.contents = [a_slice(i, 41) for i in range(41)]
    pacs.dicomweb.contents[20] = pacs.dicomweb.contents[20][:-100]
    frames = pacs.frames(StudyRef(study_instance_uid=STUDY_INSTANCE_UID, modality="CT"))
    assert [f.slice_place and f.slice_place.number for f in frames] == [33, 27, 15, 9]


def test_lateral_film_is_not_retrieved(pacs: Pacs) -> None:
    lateral = a_dicom_instance(SOPInstanceUID=f"{SOP_INSTANCE_UID}.9", ViewPosition="LL")
    pacs.dicomweb.contents.insert(0, lateral)
    (frame,) = pacs.frames()
    assert frame.view_position == "PA"


def test_pacs_account_is_sent_to_the_pacs_and_the_token_is_not(pacs: Pacs) -> None:
    pacs.dicomweb.authorization = BASIC
    assert pacs.frames()
    assert all(TOKEN.reveal() not in str(asked.headers) for asked in pacs.server.asked)


def test_token_is_sent_to_a_pacs_on_the_fhir_servers_own_origin(pacs: Pacs) -> None:
    pacs.dicomweb.authorization = f"Bearer {TOKEN.reveal()}"
    assert pacs.frames(fhir_base_url=f"{pacs.server.url}/fhir")


def test_endpoint_on_another_registered_origin_gets_neither(pacs: Pacs) -> None:
    with a_server(DicomwebServer(a_dicom_instance())) as other:
        study = StudyRef(
            study_instance_uid=STUDY_INSTANCE_UID, dicomweb_url=f"{other.url}/dicomweb"
        )
        assert pacs.frames(study, origins=(other.url,))
        assert other.asked
        assert all("authorization" not in asked.headers for asked in other.asked)
    assert pacs.paths == []


def test_endpoint_that_is_down_leads_to_the_default_pacs(pacs: Pacs) -> None:
    with a_server(DicomwebServer()) as gone:
        url = gone.url
    study = StudyRef(study_instance_uid=STUDY_INSTANCE_UID, dicomweb_url=f"{url}/dicomweb")
    assert pacs.frames(study, origins=(url,))


def test_study_that_the_callers_token_may_not_see_is_not_fetched_with_our_account(
    pacs: Pacs,
) -> None:
    own = DicomwebServer(a_dicom_instance())
    own.status = 403
    with a_server(own) as ehr:
        study = StudyRef(study_instance_uid=STUDY_INSTANCE_UID, dicomweb_url=f"{ehr.url}/dicomweb")
        error = refusal(pacs, study, fhir_base_url=f"{ehr.url}/fhir")
    assert error.reason == Reason.UPSTREAM_REFUSED
    assert pacs.paths == []


def test_unregistered_endpoint_is_passed_over_without_contact(pacs: Pacs) -> None:
    with a_server(DicomwebServer(a_dicom_instance())) as foreign:
        study = StudyRef(
            study_instance_uid=STUDY_INSTANCE_UID, dicomweb_url=f"{foreign.url}/dicomweb"
        )
        assert pacs.frames(study)
        error = refusal(pacs, study, default_pacs_url=None)
        assert foreign.asked == []
    assert error.reason == Reason.EGRESS_REFUSED


def test_record_without_any_image_server_is_no_imaging(pacs: Pacs) -> None:
    assert refusal(pacs, default_pacs_url=None).reason == Reason.NO_IMAGING


@pytest.mark.parametrize("status", [200, 204, 404])
def test_search_without_match_is_no_imaging_however_it_is_said(pacs: Pacs, status: int) -> None:
    pacs.dicomweb.no_match_status = status
    study = StudyRef(study_instance_uid="1.2.3")
    assert refusal(pacs, study).reason == Reason.NO_IMAGING


@pytest.mark.parametrize(
    ("status", "reason"),
    [(503, Reason.UPSTREAM_FAILED), (401, Reason.UPSTREAM_REFUSED), (403, Reason.UPSTREAM_REFUSED)],
)
def test_pacs_that_fails_or_refuses_is_a_reason(pacs: Pacs, status: int, reason: Reason) -> None:
    pacs.dicomweb.status = status
    error = refusal(pacs)
    assert error.reason == reason
    assert error.sentence.startswith("The PACS")
    assert len(pacs.server.asked) == 1  # no retry storm


def test_accession_number_is_searched_with_the_patient_id(pacs: Pacs) -> None:
    assert pacs.frames(BY_ACCESSION)
    (search, *_) = pacs.server.asked
    assert search.path == "/dicomweb/studies"
    assert search.query["AccessionNumber"] == ["A-1"]
    assert search.query["PatientID"] == ["P100"]


def test_search_results_are_checked_again(pacs: Pacs) -> None:
    pacs.dicomweb.ignores_filters = True
    assert refusal(pacs, StudyRef(accession_number="A-9")).reason == Reason.NO_IMAGING
    assert refusal(pacs, BY_ACCESSION, patient_id_value="P200").reason == Reason.NO_IMAGING
    assert refusal(pacs, BY_ACCESSION, pacs_issuer="OTHER").reason == Reason.NO_IMAGING


def test_wildcard_in_an_accession_number_finds_nothing(pacs: Pacs) -> None:
    assert refusal(pacs, StudyRef(accession_number="A-*")).reason == Reason.NO_IMAGING


def test_accession_number_of_two_studies_is_ambiguous(pacs: Pacs) -> None:
    twin = a_dicom_instance(StudyInstanceUID="1.2.3", SOPInstanceUID="1.2.3.4")
    pacs.dicomweb.contents.append(twin)
    error = refusal(pacs, BY_ACCESSION)
    assert error.reason == Reason.NO_IMAGING


def test_answer_with_another_study_is_an_identity_mismatch(pacs: Pacs) -> None:
    pacs.dicomweb.answers_with = a_dicom_instance(StudyInstanceUID="1.2.3")
    error = refusal(pacs)
    assert error.reason == Reason.IDENTITY_MISMATCH
    assert "1.2.3" not in str(error)


@pytest.mark.parametrize(
    "content", [b"%PDF-1.7 not a picture", a_dicom_instance()[:-50]], ids=["pdf", "truncated"]
)
def test_damaged_instance_is_unreadable(pacs: Pacs, content: bytes) -> None:
    pacs.dicomweb.answers_with = content
    assert refusal(pacs).reason == Reason.IMAGE_UNREADABLE


def test_second_film_is_used_when_the_first_is_damaged(pacs: Pacs) -> None:
    damaged = a_dicom_instance(SOPInstanceUID=f"{SOP_INSTANCE_UID}.0", InstanceNumber=0)
    pacs.dicomweb.contents.insert(0, damaged[:-50])
    (frame,) = pacs.frames()
    assert frame.sop_instance_uid == SOP_INSTANCE_UID


def test_study_of_reports_only_is_unsupported(pacs: Pacs) -> None:
    pacs.dicomweb.contents = [a_dicom_instance(Modality="SR", PixelData=None)]
    assert refusal(pacs).reason == Reason.IMAGE_UNSUPPORTED


def test_deadline_that_has_passed_sends_nothing(pacs: Pacs) -> None:
    assert refusal(pacs, seconds=0).reason == Reason.DEADLINE
    assert pacs.server.asked == []


def test_study_uid_that_could_change_the_path_is_not_sent(pacs: Pacs) -> None:
    error = refusal(pacs, StudyRef(study_instance_uid="../../admin"))
    assert error.reason == Reason.NO_IMAGING
    assert pacs.server.asked == []


def test_nothing_about_the_patient_is_logged(pacs: Pacs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    pacs.frames(BY_ACCESSION)
    pacs.dicomweb.status = 503
    refusal(pacs, BY_ACCESSION)
    for secret in ("P100", "A-1", "1959", "Test^Person", "secret", TOKEN.reveal()):
        assert secret not in caplog.text
