"""Which arriving studies are analysed, and what of them may be printed."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cds.domain.arrival import (
    ArrivalRules,
    ArrivedStudy,
    Candidate,
    FoundStudy,
    StudyInventory,
    why_not_analysed,
)
from cds.domain.dates import PartialDate
from cds.domain.job import (
    FIRST_RETRY_S,
    LONGEST_RETRY_S,
    MAX_ATTEMPTS,
    Job,
    JobKind,
    JobState,
    NewJob,
    Work,
    retry_delay_s,
    why_refused,
)
from cds.domain.pixels import PictureIdentity
from cds.domain.withdrawal import Withdrawal, WithdrawalReason

RULES = ArrivalRules(True, "treatment; board 12/2026", ("DX",), ("ward-7",))
CANDIDATE = Candidate(("DX",), ("ward-7",))
IDENTITY = PictureIdentity("P100", "HOSPITAL-A", PartialDate(1959, 3, 14), "F", "1.2.3")
INVENTORY = StudyInventory(IDENTITY, (("1.2.3.1", "1.2.3.1.1"),))
NOW = datetime(2026, 11, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rules", "candidate", "why"),
    [
        (RULES, CANDIDATE, None),
        (ArrivalRules(), CANDIDATE, "legal basis"),
        (replace(RULES, is_enrolled=False), CANDIDATE, "not enrolled for analysis"),
        (RULES, replace(CANDIDATE, modalities=("CT",)), "kind of study"),
        (RULES, replace(CANDIDATE, modalities=()), "kind of study"),
        (RULES, replace(CANDIDATE, locations=()), "place"),
        (replace(RULES, locations=()), CANDIDATE, "place"),
        (replace(RULES, locations=("*",)), replace(CANDIDATE, locations=()), None),
        (RULES, replace(CANDIDATE, security_labels=("N", "R")), "security label"),
        (RULES, replace(CANDIDATE, is_on_site_list=True), "site's list"),
        (ArrivalRules(legal_basis="x"), replace(CANDIDATE, is_asked_for=True), None),
        (
            ArrivalRules(legal_basis="x"),
            replace(CANDIDATE, is_asked_for=True, security_labels=("V",)),
            "security label",
        ),
    ],
)
def test_study_is_analysed_on_arrival_only_as_agreed(rules, candidate, why) -> None:
    found = why_not_analysed(rules, candidate)
    assert (found is None) == (why is None)
    assert (why or "") in (found or "")


@pytest.mark.parametrize(
    "other",
    [
        replace(INVENTORY, identity=replace(IDENTITY, patient_id_value="P999")),
        replace(INVENTORY, identity=replace(IDENTITY, issuer="HOSPITAL-B")),
        replace(INVENTORY, instances=(*INVENTORY.instances, ("1.2.3.1", "1.2.3.1.2"))),
        replace(INVENTORY, rejected=frozenset({"1.2.3.1.1"})),
    ],
    ids=["patient", "issuer", "instance", "rejection"],
)
def test_fingerprint_differs_when_what_counts_differs(other: StudyInventory) -> None:
    assert other.fingerprint != INVENTORY.fingerprint
    assert replace(INVENTORY).fingerprint == INVENTORY.fingerprint


def test_study_is_rejected_only_when_every_picture_is() -> None:
    two = replace(INVENTORY, instances=(*INVENTORY.instances, ("1.2.3.1", "1.2.3.1.2")))
    assert not INVENTORY.is_rejected
    assert not replace(two, rejected=frozenset({"1.2.3.1.1"})).is_rejected
    assert replace(two, rejected=frozenset({"1.2.3.1.1", "1.2.3.1.2"})).is_rejected


def test_values_that_hold_patients_print_nothing_of_them() -> None:
    payload = {"study_instance_uid": "1.2.3"}
    values = (
        FoundStudy("1.2.3", "P100"),
        ArrivedStudy("is1", "p100", "1.2.3"),
        INVENTORY,
        NewJob(JobKind.ANALYSE_STUDY, "a", "study:1.2.3", payload),
        Job(
            *("0" * 32, JobKind.ANALYSE_STUDY, "a", JobState.WAITING, Work.ARRIVAL),
            payload=payload,
            queued_at=NOW,
            not_before=NOW,
        ),
    )
    printed = " ".join(map(repr, values))
    assert printed.count("<redacted>") == len(values)
    for secret in ("P100", "p100", "1.2.3"):
        assert secret not in printed


def test_retries_grow_to_a_bound_and_end() -> None:
    delays = [retry_delay_s(n) or 0.0 for n in range(1, MAX_ATTEMPTS)]
    assert delays[0] == FIRST_RETRY_S
    assert delays == sorted(delays)
    assert max(delays) <= LONGEST_RETRY_S
    assert retry_delay_s(MAX_ATTEMPTS) is None


@pytest.mark.parametrize(
    ("work", "n_open", "is_refused"),
    [
        (Work.BULK, 49, False),
        (Work.BULK, 50, True),
        (Work.ARRIVAL, 99, False),
        (Work.ARRIVAL, 100, True),
        (Work.INTERACTIVE, 100, True),
    ],
)
def test_queue_refuses_bulk_first(work: Work, n_open: int, is_refused: bool) -> None:
    assert (why_refused(work, n_open=n_open, limit=100) is not None) == is_refused


@pytest.mark.parametrize("reason", list(WithdrawalReason))
def test_each_withdrawal_has_a_sentence_that_says_when(reason: WithdrawalReason) -> None:
    withdrawal = Withdrawal(reason, NOW)
    sentence = withdrawal.sentence("12 Nov")
    assert sentence.startswith("Withdrawn" if withdrawal.is_error else "Superseded")
    assert sentence.endswith("(noticed 12 Nov). Do not use it.")
