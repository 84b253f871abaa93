"""The sandbox's PACS over DICOMweb, read as the product and as plain HTTP would."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from werkzeug.serving import make_server

from sandbox.web.application import create_app
from sandbox.web.switches import ServerState
from tests.integration.sandbox.records import STUDY_OF_ANNE, STUDY_OF_BEN, STUDY_OF_PDF

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.web.hospital import Hospital
    from tests.integration.sandbox.conftest import Browser


@pytest.fixture
def pacs(hospital: Hospital) -> Iterator[DICOMwebClient]:
    server = make_server("127.0.0.1", 0, create_app(hospital), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with requests.Session() as session:
        session.auth = (hospital.secrets.pacs_user, hospital.secrets.pacs_password)
        yield DICOMwebClient(f"http://127.0.0.1:{server.port}/dicomweb", session=session)
    server.shutdown()
    thread.join()
    server.server_close()


def test_search_when_by_accession_and_patient_finds_the_study(pacs: DICOMwebClient) -> None:
    found = pacs.search_for_studies(
        search_filters={"AccessionNumber": "ACC-1", "PatientID": "10001"}
    )
    assert [one["0020000D"]["Value"] for one in found] == [[STUDY_OF_ANNE]]
    assert found[0]["00080061"]["Value"] == ["DX"]
    assert found[0]["00201208"]["Value"] == [1]


@pytest.mark.parametrize(
    ("filters", "n_found"),
    [
        ({"PatientName": "archer*"}, 1),
        ({"StudyDate": "20261101-20261130"}, 2),
        ({"StudyDate": "20251101-20251130"}, 0),
        ({"ModalitiesInStudy": "CT,MR"}, 0),
        ({"StudyInstanceUID": f"{STUDY_OF_ANNE},{STUDY_OF_BEN}"}, 2),
        ({"00100020": "10002"}, 1),
    ],
    ids=["wildcard", "range", "empty-range", "modalities", "uid-list", "tag"],
)
def test_search_when_filtered_counts_the_matches(
    pacs: DICOMwebClient, filters: dict[str, str], n_found: int
) -> None:
    assert len(pacs.search_for_studies(search_filters=filters)) == n_found


def test_retrieve_when_as_stored_gives_the_pixels(pacs: DICOMwebClient) -> None:
    (dataset,) = pacs.retrieve_study(STUDY_OF_ANNE, media_types=(("application/dicom", "*"),))
    assert dataset.pixel_array[7, 9] == 79
    assert dataset.PatientID == "10001"


def test_metadata_and_frames_when_retrieved_agree_with_the_file(pacs: DICOMwebClient) -> None:
    uids = (STUDY_OF_ANNE, f"{STUDY_OF_ANNE}.1", f"{STUDY_OF_ANNE}.1.1")
    metadata = pacs.retrieve_instance_metadata(*uids)
    assert metadata["00280010"]["Value"] == [8]
    assert "7FE00010" not in metadata
    (frame,) = pacs.retrieve_instance_frames(*uids, [1], media_types=("application/octet-stream",))
    assert frame[:4] == b"\x00\x00\x01\x00"
    assert len(frame) == 160


def test_file_when_it_is_a_pdf_is_served_as_it_is(browser: Browser) -> None:
    answer = browser.client.get(
        f"/dicomweb/studies/{STUDY_OF_PDF}",
        auth=(browser.hospital.secrets.pacs_user, browser.hospital.secrets.pacs_password),
    )
    assert answer.status_code == 200
    assert b"%PDF-1.4 not a picture" in answer.data


def test_request_when_without_token_is_401(browser: Browser) -> None:
    assert browser.client.get("/dicomweb/studies").status_code == 401
    wrong = browser.client.get("/dicomweb/studies", auth=("precedent", "wrong"))
    assert wrong.status_code == 401


def test_study_when_of_another_patient_than_the_tokens_is_404(browser: Browser) -> None:
    token = browser.token("anne")["access_token"]
    own = browser.get(f"/dicomweb/studies/{STUDY_OF_ANNE}/metadata", token)
    assert own.status_code == 200
    assert own.content_type == "application/dicom+json"
    other = browser.get(f"/dicomweb/studies/{STUDY_OF_PDF}", token)
    assert other.status_code == 404


def test_token_when_without_imaging_scope_is_403(browser: Browser) -> None:
    token = browser.token(scope="launch patient/Patient.r")["access_token"]
    assert browser.get("/dicomweb/studies", token).status_code == 403


def test_search_when_nothing_matches_is_204_and_bad_keyword_is_400(browser: Browser) -> None:
    token = browser.token()["access_token"]
    assert browser.get("/dicomweb/studies?PatientID=0", token).status_code == 204
    assert browser.get("/dicomweb/studies?Mood=1", token).status_code == 400


def test_pacs_when_switched_off_answers_503(browser: Browser) -> None:
    token = browser.token()["access_token"]
    browser.hospital.pacs_switch.turn(ServerState.DOWN)
    assert browser.get("/dicomweb/studies", token).status_code == 503


def test_retrieve_when_truncated_gives_what_is_on_disk(browser: Browser) -> None:
    (stored,) = browser.hospital.dicom.instances(STUDY_OF_ANNE)
    content = stored.path.read_bytes()[:-100]
    stored.path.write_bytes(content)
    token = browser.token()["access_token"]
    answer = browser.get(f"/dicomweb/studies/{STUDY_OF_ANNE}", token)
    assert content in answer.data
    assert pydicom.dcmread(stored.path, stop_before_pixels=True).Rows == 8
