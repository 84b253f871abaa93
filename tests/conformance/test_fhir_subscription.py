"""FHIR R4 Subscription, channel rest-hook: what arrives at our endpoint, and who may send it."""

from urllib.parse import quote

import pytest

from cds.domain.job import QueueCounts
from cds.fhir.subscription import NOTIFICATION_HEADER, notified_study_ids, subscription
from cds.fhir.validation import validated
from tests.builders.answers import EHR_ID, a_registration
from tests.builders.fhir import a_bundle, a_patient, an_imaging_study
from tests.fakes.machine_door import MachineDoor

PATH = f"/t/{EHR_ID}/notifications/s1"


@pytest.fixture
def door() -> MachineDoor:
    return MachineDoor(a_registration(), a_registration(ehr_id="other"))


def secret_of(door: MachineDoor) -> dict[str, str]:
    return {NOTIFICATION_HEADER: door.engine.background.told.secret}


def test_subscription_is_valid_and_carries_its_secret_as_a_header() -> None:
    resource = subscription(
        endpoint="https://cds.example.invalid/t/a/notifications/s1",
        secret="s3cret",
        with_payload=True,
    )
    assert validated(resource) == resource
    assert resource["criteria"].startswith("ImagingStudy")
    assert resource["channel"]["type"] == "rest-hook"
    assert resource["channel"]["header"] == [f"{NOTIFICATION_HEADER}: s3cret"]
    assert resource["channel"]["payload"] == "application/fhir+json"


def test_notification_without_payload_is_taken_as_a_hint_to_look(door: MachineDoor) -> None:
    response = door.http.post(PATH, headers=secret_of(door))
    assert (response.status_code, response.data) == (204, b"")
    assert door.engine.background.told.told == [(EHR_ID, ())]


@pytest.mark.parametrize(
    "body", [an_imaging_study(), a_bundle(a_patient(), an_imaging_study())], ids=["one", "bundle"]
)
def test_notification_with_payload_is_taken_by_its_id_alone(door: MachineDoor, body) -> None:
    assert door.http.post(PATH, json=body, headers=secret_of(door)).status_code == 204
    assert door.engine.background.told.told == [(EHR_ID, ("is1",))]


def test_notification_by_put_names_the_study_in_its_address(door: MachineDoor) -> None:
    hostile = an_imaging_study(id="another")
    response = door.http.put(f"{PATH}/ImagingStudy/is1", json=hostile, headers=secret_of(door))
    assert response.status_code == 204
    assert door.engine.background.told.told == [(EHR_ID, ("is1",))]


def test_notification_of_another_type_is_refused(door: MachineDoor) -> None:
    response = door.http.put(f"{PATH}/Patient/p1", headers=secret_of(door))
    assert response.status_code == 400
    assert door.engine.background.told.told == []


@pytest.mark.parametrize("headers", [{}, {NOTIFICATION_HEADER: ""}, {NOTIFICATION_HEADER: "x"}])
def test_notification_without_the_secret_is_refused(door: MachineDoor, headers) -> None:
    for response in (
        door.http.post(PATH, json=an_imaging_study(), headers=headers),
        door.http.put(f"{PATH}/ImagingStudy/is1", headers=headers),
    ):
        assert response.status_code == 401
    assert door.engine.background.told.told == []


def test_notification_at_another_ehrs_address_is_refused(door: MachineDoor) -> None:
    other = PATH.replace(EHR_ID, "other")
    assert door.http.post(other, headers=secret_of(door)).status_code == 401
    unknown = PATH.replace(EHR_ID, "nobody")
    assert door.http.post(unknown, headers=secret_of(door)).status_code == 404
    assert door.engine.background.told.told == []


def test_notification_when_the_queue_is_full_is_to_be_sent_again(door: MachineDoor) -> None:
    door.engine.background.told.is_full = True
    assert door.http.post(PATH, headers=secret_of(door)).status_code == 503


def test_notification_that_is_no_json_is_refused(door: MachineDoor) -> None:
    response = door.http.post(PATH, data=b"<ImagingStudy/>", headers=secret_of(door))
    assert response.status_code == 400


def test_notified_studies_are_bounded() -> None:
    many = a_bundle(*(an_imaging_study(id=f"s{n}") for n in range(500)))
    assert len(notified_study_ids(many)) == 50


def test_studies_beyond_the_bound_are_looked_for(door: MachineDoor) -> None:
    many = a_bundle(*(an_imaging_study(id=f"s{n}") for n in range(51)))
    assert door.http.post(PATH, json=many, headers=secret_of(door)).status_code == 204
    looked_for, named = door.engine.background.told.told
    assert looked_for == (EHR_ID, ())
    assert len(named[1]) == 50


@pytest.mark.parametrize("imaging_study_id", ["..", ".", "a/b", "s1?x=1", "x" * 65, "s 1"])
def test_id_that_is_no_fhir_id_is_not_queued(door: MachineDoor, imaging_study_id: str) -> None:
    assert notified_study_ids(an_imaging_study(id=imaging_study_id)) == ()
    path = f"{PATH}/ImagingStudy/{quote(imaging_study_id, safe='')}"
    assert door.http.put(path, headers=secret_of(door)).status_code in {400, 404}
    assert door.engine.background.told.told == []


def test_health_of_jobs_tells_totals_of_the_installation_and_nothing_else(door) -> None:
    body = door.http.get("/health/jobs").get_json()
    totals = {"waiting", "running", "dead_letters", "oldest_waiting_s", "last_heartbeat_s"}
    assert set(body) == {"status", "sentence", *totals}
    filtered = door.http.get(f"/health/jobs?ehr_id={EHR_ID}&patient=p4").get_json()
    assert filtered == body


def test_health_of_jobs_says_how_long_the_queue_is_and_when_nobody_works(door) -> None:
    door.engine.background.queue = QueueCounts(3, 1, 2, door.clock.now(), door.clock.now())
    body = door.http.get("/health/jobs").get_json()
    assert (body["waiting"], body["dead_letters"], body["oldest_waiting_s"]) == (3, 2, 0)
    door.engine.background.stalled = "No worker runs."
    stalled = door.http.get("/health/jobs")
    assert (stalled.status_code, stalled.get_json()["sentence"]) == (503, "No worker runs.")
