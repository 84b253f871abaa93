"""A study arrives: it is analysed before anyone asks, served without its pictures, withdrawn."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from cds.adapters.sql.door_models import AuditEventRow
from cds.arrival.study_analysis import StudyRequest
from cds.domain.errors import CdsError, Reason
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
    if reason is WithdrawalReason.VANISHED:  # looked for twice
        assert hospital.storage.results.by_id("a", old.report_id).withdrawn is None
        hospital.run_due(11 * MINUTE)
    withdrawn = hospital.storage.results.by_id("a", old.report_id).withdrawn
    assert withdrawn.reason is reason


def test_study_that_an_archive_lost_for_a_moment_keeps_its_answer(hospital):
    arrive(hospital)
    (old,) = hospital.storage.results.by_patient("a", PATIENT_ID)
    film, hospital.archive.contents = hospital.archive.contents, []
    hospital.clock.advance(2 * MINUTE)
    with pytest.raises(CdsError, match="does not find the study now"):
        hospital.background.looked_at(old)
    hospital.run_queue()
    hospital.archive.contents = film
    hospital.run_due(11 * MINUTE)
    assert hospital.storage.results.by_id("a", old.report_id).withdrawn is None
    assert hospital.background.looked_at(old).withdrawn is None


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


def test_kept_answer_when_read_is_looked_at_first_and_not_served_while_the_archive_is_down(
    hospital,
):
    arrive(hospital)
    (report,) = hospital.storage.results.by_patient("a", PATIENT_ID)
    assert hospital.background.looked_at(report) == report
    hospital.clock.advance(2 * MINUTE)
    hospital.archive.status = 503
    with pytest.raises(CdsError) as down:
        hospital.background.looked_at(report)
    assert down.value.reason is Reason.UPSTREAM_FAILED
    hospital.archive.status = None
    hospital.archive.contents[0] = a_film(PatientID="P999")
    moved = hospital.background.looked_at(report).withdrawn
    assert moved.reason is WithdrawalReason.MOVED


def test_answer_that_cannot_be_looked_at_with_our_own_rights_is_served_as_it_is_kept(hospital):
    arrive(hospital)
    (report,) = hospital.storage.results.by_patient("a", PATIENT_ID)
    hospital.clock.advance(2 * MINUTE)
    hospital.archive.status = 401
    assert hospital.background.looked_at(report).withdrawn is None


def test_withdrawn_answers_are_listed_with_who_was_shown_them(hospital):
    arrive(hospital)
    report = hospital.hook().report
    for viewer in ("Practitioner/okafor", "Practitioner/okafor", "Practitioner/lind"):
        hospital.background.lives.note_view("a", report.report_id, viewer=viewer, door="hook")
    hospital.archive.contents = [a_film(PatientID="P999")]
    hospital.hook()
    (withdrawn,) = hospital.background.lives.withdrawn("a")
    seen = hospital.background.lives.seen_by("a", withdrawn.report_id)
    assert {one.viewer for one in seen} == {"Practitioner/okafor", "Practitioner/lind"}
    assert hospital.background.lives.withdrawn("b") == ()


def test_withdrawal_is_audited_without_patient_identity(hospital):
    arrive(hospital)
    hospital.hook()
    hospital.archive.contents = [a_film(PatientID="P999")]
    hospital.hook()
    with Session(hospital.storage.engine) as session:
        rows = list(session.scalars(select(AuditEventRow)))
    actions = {(row.action, row.outcome) for row in rows}
    assert ("result.withdrawn", "moved") in actions
    assert ("arrival.analysed", "success") in actions
    kept = str([(r.patient_key, r.entity, r.detail, r.who) for r in rows])
    for secret in ("P100", "P999", PATIENT_ID, STUDY_INSTANCE_UID):
        assert secret not in kept


def test_notification_becomes_an_analysis_and_a_repeated_one_changes_nothing(hospital):
    for _ in range(3):
        hospital.background.notices().notified("a", ("is1",))
    hospital.run_queue()
    hospital.run_due(2 * MINUTE)
    hospital.background.notices().notified("a", ("is1",))
    hospital.run_queue()
    assert len(hospital.storage.results.by_patient("a", PATIENT_ID)) == 1
    assert len(hospital.fetched_pictures()) == 1


def test_notification_without_payload_causes_a_poll(tmp_path):
    with an_arrival_hospital(tmp_path, arrival=replace(ENROLLED, is_polled=False)) as hospital:
        hospital.background.notices().notified("a", ())
        hospital.run_queue()
        hospital.run_due(2 * MINUTE)
        assert len(hospital.storage.results.by_patient("a", PATIENT_ID)) == 1


def test_subscription_of_one_ehr_may_not_notify_for_another(hospital):
    memory = hospital.background.memory
    subscription_id, secret = memory.add_subscription("a")
    assert memory.may_notify("a", subscription_id, secret.reveal())
    assert not memory.may_notify("b", subscription_id, secret.reveal())
    assert not memory.may_notify("a", subscription_id, "")
    memory.remove_subscription("a", subscription_id)
    assert not memory.may_notify("a", subscription_id, secret.reveal())


def test_request_by_a_person_overrides_enrolment_and_never_protection(tmp_path):
    rules = replace(ENROLLED, is_enrolled=False, modalities=(), locations=())
    with an_arrival_hospital(tmp_path, arrival=rules) as hospital:
        arrivals = hospital.background.arrivals(hospital.analyst)
        request = arrivals.newest_of(hospital.registration, PATIENT_ID)
        outcome = arrivals.analyse(hospital.registration, request)
        assert outcome.deferral is not None  # not yet complete
        hospital.clock.advance(2 * MINUTE)
        outcome = arrivals.analyse(hospital.registration, request)
        assert outcome.analysis is not None
        assert outcome.analysis.report is not None
        assert outcome.analysis.report.state is AnswerState.COMPARED
        by_accession = StudyRequest(accession_number="A-1", is_asked_for=True)
        assert arrivals.analyse(hospital.registration, by_accession).analysis is not None
        hospital.background.memory.exclude("a", PATIENT_ID)
        outcome = arrivals.analyse(hospital.registration, request)
        assert "site's list" in (outcome.passed_over or "")
        with pytest.raises(CdsError, match="site's list"):
            arrivals.newest_of(hospital.registration, PATIENT_ID)


def test_nothing_of_the_patient_reaches_the_log(hospital, caplog):
    with caplog.at_level("DEBUG"):
        arrive(hospital)
        hospital.archive.status = 503
        hospital.archive.contents.append(a_film(2))
        hospital.run_due(2 * MINUTE)
    said = " ".join(str(vars(record)) for record in caplog.records if record.name[:3] == "cds")
    said += " ".join(r.getMessage() for r in caplog.records if r.name.startswith("huey"))
    for secret in ("P100", PATIENT_ID, STUDY_INSTANCE_UID, "Test^Person", OWN_TOKEN):
        assert secret not in said
