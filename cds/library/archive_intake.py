"""The studies of one import, one after the other: watched, claimed, joined, noted."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cds.domain.archive import ArchivedStudy, LedgerClaim, LedgerEntry, LedgerState
from cds.domain.completeness import Completeness, CompletenessRule, InstanceCount
from cds.domain.errors import CdsError, Reason
from cds.domain.librarian import LibrarianAct
from cds.domain.recorded_case import RecordedCase
from cds.library.archive_cases import ArchiveScope, source_case
from cds.library.archive_kept_out import KeptOut
from cds.library.archive_ports import ArchiveLedger, LibrarianActs, PictureArchive, RecordArchive
from cds.library.catalogue import CaseCatalogue
from cds.library.source_case import SourceCase, SourceRow
from cds.ports import AuditEvent, AuditTrail, Clock, IdentityKeys

RETRY_AFTER = timedelta(hours=1)  # what failed in passing
UNKNOWN_AFTER = timedelta(days=1)  # the record may learn of the patient
MAX_FAILURES_IN_A_ROW = 5  # then a peer is down, not a study at fault
LEASE_S = 120.0
MAX_QUEUE = 1000  # studies whose count is being watched
NOT_RECORDED = "the record does not know the patient"
NOT_REPORTED = "nobody has reported the study yet"
NO_USABLE_PICTURE = "no picture of the study could be used"
LATE_INSTANCES = "instances arrived after the import"
INTERRUPTED = "the import was interrupted"
LOST = "withdrawn or taken over while it was imported: erase a withdrawn patient again"
# What a study itself is at fault for; everything else may pass.
FINAL = {
    Reason.IDENTITY_MISMATCH: "identity",
    Reason.NO_IMAGING: "gone",
    Reason.IMAGE_UNSUPPORTED: "unsupported",
    Reason.IMAGE_UNREADABLE: "unreadable",
    Reason.INVALID_REQUEST: "not dated",
}
FATAL = frozenset({Reason.EGRESS_REFUSED, Reason.INVALID_CONFIGURATION})
FORBIDDEN = 403  # one record may be closed to us while others are open


@dataclass(frozen=True, slots=True)
class Archives:
    """Both sides, and what is remembered of their studies."""

    pictures: PictureArchive
    record: RecordArchive
    ledger: ArchiveLedger


@dataclass(frozen=True, slots=True)
class Books:
    """What the import writes into beside the cases."""

    catalogue: CaseCatalogue
    keys: IdentityKeys
    acts: LibrarianActs
    audit: AuditTrail
    kept_out: KeptOut


@dataclass(frozen=True, slots=True)
class ImportPace:
    """When studies are taken up; clocks and sleep are others in tests.

    Attributes
    ----------
    lease_s
        How long a dead importer blocks the study that it was at.
    retries_given_up
        Whether studies that an earlier run gave up are taken up again.

    """

    clock: Clock
    completeness: CompletenessRule = field(default_factory=CompletenessRule)
    lease_s: float = LEASE_S
    sleep: Callable[[float], None] = time.sleep
    retries_given_up: bool = False


class _Stopped(Exception):  # noqa: N818  # no error: the walk's way out
    """The run cannot go on; its sentence says why."""


@dataclass(frozen=True, slots=True, repr=False)
class _Watched:
    """A study whose count is being watched, as it was seen last."""

    study: ArchivedStudy
    entry: LedgerEntry

    @property
    def key(self) -> str:
        return self.entry.study_key


@dataclass(slots=True)
class StudyIntake:
    """The studies of one run.

    Attributes
    ----------
    count, reasons, gaps
        What happened so far, sentence by sentence.
    stopped
        Why the run cannot go on; None while it can.

    """

    archives: Archives
    books: Books
    scope: ArchiveScope
    pace: ImportPace
    run_id: str
    count: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    gaps: Counter[str] = field(default_factory=Counter)
    stopped: str | None = None
    failures_in_a_row: int = 0
    watched: deque[_Watched] = field(default_factory=deque)
    taken: list[_Watched] = field(default_factory=list)

    def rows(self, act: LibrarianAct, limit: int | None) -> Generator[SourceRow]:
        """Yield what is to be added or updated; each is noted once its reader comes back."""
        try:
            for study in self._listed(act, limit):
                yield from self._looked_at(study)
                yield from self._settled(len(self.watched) > MAX_QUEUE)
            while self.watched:
                yield from self._settled(is_full=True)
            yield from self._left_by_the_dead()
        except _Stopped as stop:
            self.stopped = str(stop)

    def _listed(self, act: LibrarianAct, limit: int | None) -> Iterator[ArchivedStudy]:
        studies = self.archives.pictures.search_studies(act.search)
        while limit is None or self.count["listed"] < limit:
            try:
                study = next(studies, None)
            except CdsError as error:
                raise _Stopped(error.sentence) from error
            if study is None:
                return
            self.count["listed"] += 1
            yield study

    def _looked_at(self, study: ArchivedStudy) -> Iterator[SourceRow]:
        """Note a listed study; yield its newest facts if it is in the library already."""
        entry = self.archives.ledger.see(study)
        one = _Watched(study, entry)
        if self.books.kept_out.by_list(study):
            self._keep_out(one, "opt-out list")
            return
        if entry.state is LedgerState.WITHDRAWN and not self.books.kept_out.was_by_record(study):
            self.count["withdrawn"] += 1  # erased, rejected or merged away: not ours to undo
            return
        if entry.state is LedgerState.WITHDRAWN:
            self.archives.ledger.reopen(entry.study_key, "the record is asked again")
        if entry.state is LedgerState.FAILED:
            if not self.pace.retries_given_up:
                self.count["given_up_before"] += 1
                return
            self.archives.ledger.reopen(entry.study_key, "taken up again by the librarian")
        with self._forgiven(one, None):
            if entry.state is LedgerState.IMPORTED and not self._has_grown(study, entry):
                yield from self._newest_facts(one)
                return
            self._watch(study)

    def _has_grown(self, study: ArchivedStudy, entry: LedgerEntry) -> bool:
        if study.n_instances is not None and study.n_instances == entry.n_imported_instances:
            return False
        n_now = self.archives.pictures.n_instances(study)
        if not self.archives.ledger.see(study, n_instances=n_now).has_late_instances:
            return False
        self.count["late"] += 1
        self.archives.ledger.reopen(entry.study_key, LATE_INSTANCES)
        return True

    def _newest_facts(self, one: _Watched) -> Iterator[SourceRow]:
        recorded = self._recorded(one, None)
        if recorded is not None:
            self.count["asked_again"] += 1
            yield source_case(one.study, recorded, (), self.scope)
        self.failures_in_a_row = 0

    def _watch(self, study: ArchivedStudy) -> None:
        n_now = self.archives.pictures.n_instances(study)
        self.watched.append(_Watched(study, self.archives.ledger.see(study, n_instances=n_now)))

    def _settled(self, is_full: bool) -> Iterator[SourceRow]:  # noqa: FBT001  # one caller's word
        """Take up the watched studies whose count has stood still; wait for the first if full."""
        while self.watched:
            first = self.watched[0].entry
            since_at = first.unchanged_since_at or self.pace.clock.now()
            stable_at = since_at + timedelta(seconds=self.pace.completeness.stable_s)
            wait_s = (stable_at - self.pace.clock.now()).total_seconds()
            if wait_s > 0:
                if not is_full:
                    return
                self.pace.sleep(wait_s)
            is_full = False
            yield from self._taken_up(self.watched.popleft())

    def _taken_up(self, one: _Watched) -> Iterator[SourceRow]:
        study, ledger = one.study, self.archives.ledger
        with self._forgiven(one, None):
            n_now = self.archives.pictures.n_instances(study)
            one = _Watched(study, ledger.see(study, n_instances=n_now))
            if not self._is_complete(one):
                return
            claim = ledger.claim(one.key, lease_s=self.pace.lease_s)
            if claim is None:
                self._note_unclaimed(one)
                return
            yield from self._claimed(one, claim, n_now)

    def _is_complete(self, one: _Watched) -> bool:
        now, entry = self.pace.clock.now(), one.entry
        counted = InstanceCount(entry.n_instances or 0, entry.unchanged_since_at or now)
        verdict = self.pace.completeness.verdict(counted, stated=(one.study.n_instances,), now=now)
        if verdict.completeness is Completeness.COMPLETE:
            return True
        self.count["incomplete"] += 1
        self.reasons[f"not complete: {verdict.completeness.value}"] += 1
        return False

    def _note_unclaimed(self, one: _Watched) -> None:
        now = self.archives.ledger.entry(one.study)
        if now is not None and now.state is LedgerState.CLAIMED:
            self.taken.append(one)  # by another importer, or by one that died
        else:
            self.count["not_due"] += 1

    def _left_by_the_dead(self) -> Iterator[SourceRow]:
        """Take up what somebody else had claimed and has not finished by the end of its lease."""
        if not self.taken:
            return
        self.pace.sleep(self.pace.lease_s)
        for one in self.taken:
            claim = self.archives.ledger.claim(one.key, lease_s=self.pace.lease_s)
            if claim is None:
                self.count["with_another_importer"] += 1
                continue
            yield from self._claimed(one, claim, one.entry.n_instances or 0)

    def _claimed(self, one: _Watched, claim: LedgerClaim, n_instances: int) -> Iterator[SourceRow]:
        ledger = self.archives.ledger
        with self._forgiven(one, claim):
            recorded = self._recorded(one, claim)
            if recorded is None:
                return
            instances = self.archives.pictures.retrieve_instances(one.study)
            if ledger.extend(claim, lease_s=self.pace.lease_s) is None:
                self.count["with_another_importer"] += 1
                return
            row = source_case(one.study, recorded, instances, self.scope)
            try:
                yield row
            except GeneratorExit:
                ledger.mark_waiting(claim, INTERRUPTED, retry_at=self.pace.clock.now())
                raise
            self._note_result(claim, row, n_instances)
            self.failures_in_a_row = 0

    def _note_result(self, claim: LedgerClaim, row: SourceCase, n_instances: int) -> None:
        study_key = self.books.keys.study_key(row.study_instance_uid or "")
        if self.books.catalogue.case_by_study(row.collection, study_key) is None:
            self.archives.ledger.mark_failed(claim, NO_USABLE_PICTURE)
            self.count["without_picture"] += 1
            return
        if self.archives.ledger.mark_imported(claim, n_instances=n_instances):
            self.count["imported"] += 1
        else:
            self.reasons[LOST] += 1

    def _recorded(self, one: _Watched, claim: LedgerClaim | None) -> RecordedCase | None:
        """Return what the record says; None, noted, where the study shall not come in."""
        recorded = self.archives.record.case_of(one.study)
        if recorded is None:
            self.count["not_recorded"] += 1
            self._give_back(claim, NOT_RECORDED, self.pace.clock.now() + UNKNOWN_AFTER)
            return None
        why = self.books.kept_out.of(one.study, recorded)
        if why is not None:
            self._keep_out(one, why)
            return None
        if not recorded.is_reported:
            self.count["not_reported"] += 1
            self._give_back(claim, NOT_REPORTED, self.pace.clock.now() + UNKNOWN_AFTER)
            return None
        self.gaps.update(recorded.missing)
        return recorded

    def _keep_out(self, one: _Watched, why: str) -> None:
        self.archives.ledger.withdraw(one.key, "kept out of the library")
        self.count["kept_out"] += 1
        self.reasons[f"kept out: {why}"] += 1

    def _give_back(self, claim: LedgerClaim | None, reason: str, retry_at: datetime) -> None:
        if claim is not None:
            self.archives.ledger.mark_waiting(claim, reason, retry_at=retry_at)

    def _forgiven(self, one: _Watched, claim: LedgerClaim | None) -> _Forgiveness:
        return _Forgiveness(self, one, claim)

    def note_failure(self, error: CdsError, one: _Watched, claim: LedgerClaim | None) -> None:
        """Note that a study could not be imported, and why; stop where the next fares no better.

        Raises
        ------
        _Stopped
            If access was refused, or too many studies failed in a row.

        """
        self.reasons[error.sentence] += 1
        now = self.pace.clock.now()
        if error.reason in FINAL:
            self._give_up(error, one, claim)
            return
        self.count["failed_for_now"] += 1
        self._give_back(claim, error.sentence, now + RETRY_AFTER)
        self.failures_in_a_row += 1
        if is_fatal(error) or self.failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise _Stopped(error.sentence) from error

    def _give_up(self, error: CdsError, one: _Watched, claim: LedgerClaim | None) -> None:
        self.count["quarantined_studies"] += 1
        self.count[FINAL[error.reason]] += 1
        is_of_others = error.reason is Reason.IDENTITY_MISMATCH
        if is_of_others and one.entry.state is LedgerState.IMPORTED:
            self.count["in_doubt"] += 1  # moved or merged since: its case is somebody else's now
        self.books.catalogue.reject(
            self.run_id,
            collection=self.scope.collection,
            file=one.study.study_instance_uid,
            reason=error.sentence[:200],
        )
        if claim is not None:
            self.archives.ledger.mark_failed(claim, error.sentence)
        if is_of_others:
            self.books.audit.record(
                AuditEvent(
                    self.scope.ehr_id,
                    "identity.mismatch",
                    error.reason.value,
                    entity=one.key,
                    detail=str(error.facts.get("fields", "")),
                )
            )


@dataclass(slots=True)
class _Forgiveness:
    """A context in which a study may fail without ending the run."""

    intake: StudyIntake
    one: _Watched
    claim: LedgerClaim | None

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, CdsError):
            return False
        self.intake.note_failure(error, self.one, self.claim)
        return True


def is_fatal(error: CdsError) -> bool:
    """Tell whether the next study cannot fare better: no way there, or no access at all."""
    is_refused = error.reason is Reason.UPSTREAM_REFUSED and error.facts.get("status") != FORBIDDEN
    return is_refused or error.reason in FATAL
