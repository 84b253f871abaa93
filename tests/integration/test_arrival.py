"""A study arrives: it is analysed before anyone asks, served without its pictures, withdrawn."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cds.domain.errors import Reason
from cds.domain.job import JobKind, JobState, NewJob, OrderPriority
from cds.domain.report import AnswerState
from cds.domain.withdrawal import WithdrawalReason
from tests.builders.dicom import STUDY_INSTANCE_UID
from tests.builders.fhir import PATIENT_ID, a_patient, a_service_request, an_imaging_study
from tests.fakes.arrival_hospital import (
    ENROLLED,
    OWN_TOKEN,
    ArrivalHospital,
    a_film,
    a_rejection_note,
    an_arrival_hospital,
)

MINUTE = timedelta(minutes=1)


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[ArrivalHospital]:
    with an_arrival_hospital(tmp_path) as opened:
        yield opened


def arrive(hospital: ArrivalHospital) -> None:
    """Let the poll see the study, and the analysis run once it is complete."""
    hospital.worker.tick()
    hospital.run_queue()
    hospital.run_due(2 * MINUTE)


def test_study_that_arrives_is_analysed_and_the_hook_answers_without_its_pictures(hospital):
    arrive(hospital)
    hospital.forget()
    analysis = hospital.hook()
    assert analysis.report is not None
    assert analysis.report.state is AnswerState.COMPARED
    assert hospital.fetched_pictures() == []
    asked = [a.path for a in hospital.server.asked if a.path.startswith("/dicomweb")]
    assert asked == ["/dicomweb/studies", f"/dicomweb/studies/{STUDY_INSTANCE_UID}/instances"]


def test_arrival_is_analysed_under_our_own_token_never_a_hooks(hospital):
    arrive(hospital)
    tokens = {a.headers.get("authorization") for a in hospital.server.asked if "fhir" in a.path}
    assert tokens == {f"Bearer {OWN_TOKEN}"}


def test_half_arrived_study_waits_until_its_count_stands_still_and_equals_the_announced(hospital):
    hospital.record.resources[1] = an_imaging_study(numberOfInstances=2)
    arrive(hospital)
    (job,) = [j for j in hospital.jobs() if j.kind is JobKind.ANALYSE_STUDY]
    assert (job.state, job.reason) == (JobState.WAITING, "The study is still arriving.")
    hospital.archive.contents.append(a_film(2))
    hospital.run_due(2 * MINUTE)
    assert hospital.fetched_pictures() == []
    hospital.run_due(2 * MINUTE)
    assert hospital.background.ledger.get(job.job_id).state is JobState.DONE
    assert len(hospital.storage.results.by_patient("a", PATIENT_ID)) == 1


def test_study_seen_twice_by_the_poll_is_analysed_once(hospital):
    arrive(hospital)
    hospital.forget()
    hospital.run_due(2 * MINUTE)
    hospital.run_due(2 * MINUTE)
    assert hospital.fetched_pictures() == []
    assert len(hospital.storage.results.by_patient("a", PATIENT_ID)) == 1


def test_late_pictures_make_a_new_analysis_that_supersedes_the_old_one_visibly(hospital):
    arrive(hospital)
    (old,) = hospital.storage.results.by_patient("a", PATIENT_ID)
    hospital.archive.contents.append(a_film(2))
    hospital.record.resources[1] = an_imaging_study(numberOfInstances=2)
    for _ in range(4):
        hospital.run_due(2 * MINUTE)
    old = hospital.storage.results.by_id("a", old.report_id)
    assert old.withdrawn.reason is WithdrawalReason.SUPERSEDED
    new = hospital.hook().report
    assert (new.withdrawn, new.report_id == old.report_id) == (None, False)


def test_arrival_without_credentials_of_ours_is_refused_in_words(hospital):
    hospital.tokens.is_configured = False
    arrive(hospital)
    (job,) = [j for j in hospital.jobs() if j.kind is JobKind.ANALYSE_STUDY]
    assert (job.state, job.reason) == (JobState.DEAD, "No credentials of ours are registered.")
    hospital.tokens.is_configured = True
    hospital.background.queue.retry(job.job_id)
    hospital.run_queue()
    hospital.run_due(2 * MINUTE)
    assert hospital.background.ledger.get(job.job_id).state is JobState.DONE


def test_archive_that_is_down_makes_a_dead_letter_that_can_be_retried(hospital):
    hospital.worker.tick()
    hospital.run_queue()
    hospital.archive.status = 503
    for _ in range(12):
        hospital.run_due(12 * MINUTE)
    (job,) = [j for j in hospital.jobs() if j.kind is JobKind.ANALYSE_STUDY]
    assert (job.state, job.attempts) == (JobState.DEAD, 6)
    hospital.archive.status = None
    hospital.background.queue.retry(job.job_id)
    hospital.run_queue()
    hospital.run_due(2 * MINUTE)
    assert hospital.background.ledger.get(job.job_id).state is JobState.DONE


@pytest.mark.parametrize("label", ["R", "V"])
@pytest.mark.parametrize("place", [0, 1], ids=["patient", "study"])
def test_sensitive_chart_is_never_analysed_on_arrival(hospital, label, place):
    security = {"security": [{"code": label}]}
    build = (a_patient, an_imaging_study)[place]
    hospital.record.resources[place] = build(meta=security)
    arrive(hospital)
    assert hospital.storage.results.by_patient("a", PATIENT_ID) == ()
    assert not [a for a in hospital.server.asked if a.path.endswith("Observation")]


def test_patient_on_the_sites_list_is_never_analysed_on_arrival(hospital):
    hospital.background.memory.exclude("a", PATIENT_ID)
    arrive(hospital)
    assert hospital.storage.results.by_patient("a", PATIENT_ID) == ()
    hospital.background.memory.readmit("a", PATIENT_ID)
    assert not hospital.background.memory.is_excluded("a", PATIENT_ID)


@pytest.mark.parametrize(
    "rules",
    [
        replace(ENROLLED, is_enrolled=False),
        replace(ENROLLED, legal_basis=None),
        replace(ENROLLED, modalities=("CT",)),
        replace(ENROLLED, locations=("ward-7",)),
    ],
    ids=["not-enrolled", "no-legal-basis", "modality", "location"],
)
def test_study_outside_what_was_agreed_is_not_analysed(tmp_path, rules):
    with an_arrival_hospital(tmp_path, arrival=rules) as hospital:
        job = NewJob(JobKind.ANALYSE_STUDY, "a", "s", {"study_instance_uid": STUDY_INSTANCE_UID})
        hospital.background.queue.submit(job)
        hospital.run_queue()
        hospital.run_due(2 * MINUTE)
        assert hospital.storage.results.by_patient("a", PATIENT_ID) == ()
        assert hospital.fetched_pictures() == []


def test_study_of_an_enrolled_place_is_analysed(tmp_path):
    rules = replace(ENROLLED, locations=("Location/ward-7",))
    with an_arrival_hospital(tmp_path, arrival=rules) as hospital:
        place = {"reference": "Location/ward-7"}
        hospital.record.resources[1] = an_imaging_study(location=place)
        arrive(hospital)
        assert len(hospital.storage.results.by_patient("a", PATIENT_ID)) == 1


def test_order_that_is_urgent_moves_its_study_up_in_the_queue(hospital):
    based_on = [{"reference": "ServiceRequest/s1"}]
    hospital.record.resources[1] = an_imaging_study(basedOn=based_on)
    hospital.record.resources.append(a_service_request(priority="stat"))
    hospital.worker.tick()
    hospital.run_queue()
    (job,) = [j for j in hospital.jobs() if j.kind is JobKind.ANALYSE_STUDY]
    assert job.order_priority is OrderPriority.STAT


def test_full_queue_leaves_new_studies_to_the_next_poll(hospital):
    limit = hospital.settings.queue_limit
    for number in range(limit - 1):
        hospital.background.queue.submit(
            NewJob(JobKind.RECHECK_RESULT, "a", str(number), {"report_id": "none"})
        )
    hospital.worker.tick()
    poll = next(j for j in hospital.jobs() if j.kind is JobKind.POLL_ARRIVALS)
    hospital.worker.run_job(poll.job_id)
    assert not [j for j in hospital.jobs() if j.kind is JobKind.ANALYSE_STUDY]
    hospital.run_queue()
    hospital.run_due(2 * MINUTE)
    assert [j for j in hospital.jobs() if j.kind is JobKind.ANALYSE_STUDY]


def test_moved_study_withdraws_its_answer_at_the_next_use(hospital):
    arrive(hospital)
    (old,) = hospital.storage.results.by_patient("a", PATIENT_ID)
    hospital.archive.contents = [a_film(PatientID="P999", PatientBirthDate="19700101")]
    analysis = hospital.hook()
    assert analysis.failure.reason is Reason.IDENTITY_MISMATCH
    old = hospital.storage.results.by_id("a", old.report_id)
    assert old.withdrawn.reason is WithdrawalReason.MOVED
    assert hospital.fetched_pictures()[1:] == []  # only the arrival fetched


def test_study_that_is_moved_back_gets_a_new_answer_and_the_old_one_stays_withdrawn(hospital):
    arrive(hospital)
    (old,) = hospital.storage.results.by_patient("a", PATIENT_ID)
    film = hospital.archive.contents
    hospital.archive.contents = [a_film(PatientID="P999", PatientBirthDate="19700101")]
    hospital.hook()
    hospital.archive.contents = film
    new = hospital.hook().report
    assert new.state is AnswerState.COMPARED
    assert new.report_id != old.report_id
    assert hospital.hook().report.report_id == new.report_id
    assert hospital.storage.results.by_id("a", old.report_id).withdrawn is not None


@pytest.mark.parametrize("code", ["113001", "113037", "113038", "113039"])
def test_rejected_study_withdraws_its_answer_at_the_next_use(hospital, code):
    arrive(hospital)
    (old,) = hospital.storage.results.by_patient("a", PATIENT_ID)
    film = f"{STUDY_INSTANCE_UID}.1.1"
    note = f"{STUDY_INSTANCE_UID}.9.1"
    hospital.archive.contents.append(a_rejection_note(film, note, code=code))
    analysis = hospital.hook()
    assert "rejected" in analysis.failure.sentence
    withdrawn = hospital.storage.results.by_id("a", old.report_id).withdrawn
    assert withdrawn.reason is WithdrawalReason.REJECTED


def test_rejected_film_of_two_is_not_compared(hospital):
    hospital.archive.contents.append(a_film(2))
    hospital.archive.contents.append(a_rejection_note(f"{STUDY_INSTANCE_UID}.1.1"))
    report = hospital.hook().report
    assert report.state is AnswerState.COMPARED
    assert "picture: 1 frame" in report.inputs_used


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: h.archive.contents.clear(), WithdrawalReason.VANISHED),
        (
            lambda h: h.archive.contents.__setitem__(0, a_film(PatientID="P999")),
            WithdrawalReason.MOVED,
        ),
        (
            lambda h: h.record.resources.__setitem__(
                1, an_imaging_study(status="entered-in-error")
            ),
            WithdrawalReason.CANCELLED,
        ),
        (
            lambda h: h.record.resources.__setitem__(
                0,
                a_patient(link=[{"type": "replaced-by", "other": {"reference": "Patient/p200"}}]),
            ),
            WithdrawalReason.MERGED,
        ),
        (
            lambda h: (
                h.record.resources.extend([a_patient(id="p200")])
                or h.record.resources.__setitem__(
                    1, an_imaging_study(subject={"reference": "Patient/p200"})
                )
            ),
            WithdrawalReason.MOVED,
        ),
        (lambda h: h.record.resources.pop(1), WithdrawalReason.VANISHED),
    ],
    ids=["vanished", "moved-in-pacs", "cancelled", "merged", "moved-in-record", "unlisted"],
)
def test_nightly_sweep_withdraws_what_no_longer_holds(hospital, change, reason):
    arrive(hospital)
    (old,) = hospital.storage.results.by_patient("a", PATIENT_ID)
    change(hospital)
    hospital.clock.advance(MINUTE)
    hospital.background.queue.submit(NewJob(JobKind.SWEEP_RESULTS, "a", "sweep"))
    hospital.run_queue()
    withdrawn = hospital.storage.results.by_id("a", old.report_id).withdrawn
    assert withdrawn.reason is reason


def test_sweep_when_the_archive_is_down_concludes_nothing(hospital):
    arrive(hospital)
    (old,) = hospital.storage.results.by_patient("a", PATIENT_ID)
    hospital.archive.status = 503
    hospital.clock.advance(MINUTE)
    hospital.background.queue.submit(NewJob(JobKind.SWEEP_RESULTS, "a", "sweep"))
    hospital.run_queue()
    assert hospital.storage.results.by_id("a", old.report_id).withdrawn is None


def test_sweep_is_submitted_once_a_night_in_the_ehrs_own_time(hospital):
    night = timedelta(hours=22, minutes=40)  # 03:10 UTC of the next day
    hospital.run_due(night)
    hospital.run_due(10 * MINUTE)
    sweeps = [j for j in hospital.jobs() if j.kind is JobKind.SWEEP_RESULTS]
    assert len(sweeps) == 1


def test_answer_that_nobody_opened_is_deleted_after_the_agreed_time_and_an_opened_one_stays(
    hospital,
):
    arrive(hospital)
    (report,) = hospital.storage.results.by_patient("a", PATIENT_ID)
    hospital.run_due(timedelta(hours=70))
    assert hospital.storage.results.by_id("a", report.report_id) is not None
    hospital.run_due(timedelta(hours=3))
    assert hospital.storage.results.by_id("a", report.report_id) is None


def test_answer_that_a_hook_used_is_kept(hospital):
    arrive(hospital)
    report = hospital.hook().report
    hospital.run_due(timedelta(hours=100))
    assert hospital.storage.results.by_id("a", report.report_id) is not None
