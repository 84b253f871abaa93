"""What has become of each study of the archives, in the database."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, func, or_, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cds.adapters.crypto import FieldCipher
from cds.adapters.sql.archive_models import ArchiveStudyRow
from cds.adapters.sql.models import LibraryCaseRow
from cds.adapters.sql.sealed_json import SealedJson
from cds.domain.archive import ArchivedStudy, LedgerClaim, LedgerEntry, LedgerState
from cds.domain.completeness import InstanceCount
from cds.domain.errors import CdsError, Reason
from cds.ports import Clock, IdentityKeys

REASON_LENGTH = 300
BATCH = 500


@dataclass(frozen=True, slots=True)
class LedgerScope:
    """Which part of the ledger is meant.

    Attributes
    ----------
    collection
        Of the library, that the studies go to.
    owner_ehr_id
        Whose patients they are; None for a library that belongs to no EHR.
    patient_namespace
        Namespace of the Patient IDs, as in the library's own patient keys.

    """

    collection: str
    owner_ehr_id: str | None = None
    patient_namespace: str = ""


class SqlArchiveLedger:
    """Implements `cds.library.archive_ports.ArchiveLedger` for one collection.

    Each change is one transaction. A claim is taken by a conditional UPDATE, so that of two
    importers, on SQLite or PostgreSQL, one gets it; and what a claim's owner notes is conditional
    on its token.
    """

    def __init__(
        self,
        engine: Engine,
        cipher: FieldCipher,
        keys: IdentityKeys,
        clock: Clock,
        scope: LedgerScope,
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._clock = clock
        self._scope = scope
        self._studies = SealedJson(ArchivedStudy, cipher, "archive_study.study")

    def check_owner(self) -> None:
        """Refuse a collection that another EHR fills: studies are told apart within a collection.

        Raises
        ------
        CdsError
            INVALID_REQUEST if it does.

        """
        mine = self._scope.owner_ehr_id
        queries = (
            select(table.owner_ehr_id).where(
                table.collection == self._scope.collection,
                table.owner_ehr_id.is_not(None),
                table.owner_ehr_id != mine,
            )
            for table in (ArchiveStudyRow, LibraryCaseRow)
        )
        with Session(self._engine) as session:
            if any(session.scalars(query.limit(1)).first() for query in queries):
                raise CdsError(
                    Reason.INVALID_REQUEST,
                    "Another EHR fills the collection of this name; name your own by --collection.",
                )

    def see(self, study: ArchivedStudy, *, n_instances: int | None = None) -> LedgerEntry:
        """Remember that the archive lists a study, and how many instances were counted just now."""
        study_key = self._keys.study_key(study.study_instance_uid)
        if self._row_exists(study_key):
            return self._seen_again(study_key, study, n_instances)
        try:
            with Session(self._engine) as session, session.begin():
                session.add(self._new_row(study_key))
        except IntegrityError:
            pass  # another importer saw it in this moment
        return self._seen_again(study_key, study, n_instances)

    def claim(self, study_key: str, *, lease_s: float) -> LedgerClaim | None:
        """Return the right to import a study; None if another has it or it is not to be taken."""
        now = self._clock.now()
        claim = LedgerClaim(study_key, secrets.token_hex(16), now + timedelta(seconds=lease_s))
        is_taken = self._changed(
            and_(self._is(study_key), _is_claimable(now)),
            state=LedgerState.CLAIMED.value,
            claim_token=claim.token,
            claimed_until_at=claim.until_at,
            n_attempts=ArchiveStudyRow.n_attempts + 1,
        )
        return claim if is_taken else None

    def extend(self, claim: LedgerClaim, *, lease_s: float) -> LedgerClaim | None:
        """Return the claim with a new lease, counted from now; None if it was lost."""
        until_at = self._clock.now() + timedelta(seconds=lease_s)
        is_held = self._changed(self._is_held(claim), claimed_until_at=until_at)
        return LedgerClaim(claim.study_key, claim.token, until_at) if is_held else None

    def mark_imported(self, claim: LedgerClaim, *, n_instances: int) -> bool:
        """Note that the study is in the library; False if the claim was lost."""
        return self._released(
            claim, LedgerState.IMPORTED, n_imported_instances=n_instances, last_reason=None
        )

    def mark_waiting(self, claim: LedgerClaim, reason: str, *, retry_at: datetime) -> bool:
        """Give the study back, to be taken up later; False if the claim was lost."""
        return self._released(
            claim, LedgerState.WAITING, last_reason=reason[:REASON_LENGTH], retry_at=retry_at
        )

    def mark_failed(self, claim: LedgerClaim, reason: str) -> bool:
        """Give the study up until somebody reopens it; False if the claim was lost."""
        return self._released(claim, LedgerState.FAILED, last_reason=reason[:REASON_LENGTH])

    def withdraw(self, study_key: str, reason: str) -> None:
        """Note that the study shall not be in the library; ends every claim, keeps no identity."""
        self._withdrawn(self._is(study_key), reason)

    def withdraw_patient(self, patient_key: str, reason: str) -> int:
        """Withdraw every study of a patient, and return how many."""
        return self._withdrawn(
            and_(self._is_in_scope(), ArchiveStudyRow.patient_key == patient_key), reason
        )

    def reopen(self, study_key: str, reason: str) -> None:
        """Let a study that was imported, failed or withdrawn be taken up again."""
        closed = (LedgerState.IMPORTED, LedgerState.FAILED, LedgerState.WITHDRAWN)
        self._changed(
            and_(self._is(study_key), ArchiveStudyRow.state.in_([s.value for s in closed])),
            state=LedgerState.WAITING.value,
            last_reason=reason[:REASON_LENGTH],
            n_attempts=0,
            retry_at=None,
        )

    def entry(self, study: ArchivedStudy) -> LedgerEntry | None:
        """Return what is remembered of a study, None if it was never seen."""
        study_key = self._keys.study_key(study.study_instance_uid)
        with Session(self._engine) as session:
            row = session.scalars(select(ArchiveStudyRow).where(self._is(study_key))).first()
            return None if row is None else self._entry(row)

    def due(self, *, limit: int = 1000) -> tuple[LedgerEntry, ...]:
        """Return the studies that can be claimed now, in the order of their first sight."""
        query = (
            select(ArchiveStudyRow)
            .where(self._is_in_scope(), _is_claimable(self._clock.now()))
            .where(ArchiveStudyRow.study.is_not(None))
            .order_by(ArchiveStudyRow.archive_study_id)
            .limit(limit)
        )
        with Session(self._engine) as session:
            return tuple(self._entry(row) for row in session.scalars(query))

    def entries(self, state: LedgerState) -> Iterator[LedgerEntry]:
        """Return the studies in a state, in the order of their first sight."""
        last_id = 0
        while True:
            query = (
                select(ArchiveStudyRow)
                .where(self._is_in_scope(), ArchiveStudyRow.state == state.value)
                .where(ArchiveStudyRow.archive_study_id > last_id)
                .order_by(ArchiveStudyRow.archive_study_id)
                .limit(BATCH)
            )
            with Session(self._engine) as session:
                rows = list(session.scalars(query))
                found = [self._entry(row) for row in rows]
            yield from found
            if len(rows) < BATCH:
                return
            last_id = rows[-1].archive_study_id

    def tally(self) -> Mapping[LedgerState, int]:
        """Return how many studies are in each state; states without any are left out."""
        query = (
            select(ArchiveStudyRow.state, func.count())
            .where(self._is_in_scope())
            .group_by(ArchiveStudyRow.state)
        )
        with Session(self._engine) as session:
            return {LedgerState(state): n for state, n in session.execute(query)}

    def _row_exists(self, study_key: str) -> bool:
        query = select(ArchiveStudyRow.archive_study_id).where(self._is(study_key))
        with Session(self._engine) as session:
            return session.scalars(query).first() is not None

    def _new_row(self, study_key: str) -> ArchiveStudyRow:
        now = self._clock.now()
        return ArchiveStudyRow(
            owner_ehr_id=self._scope.owner_ehr_id,
            collection=self._scope.collection,
            study_key=study_key,
            state=LedgerState.WAITING.value,
            n_attempts=0,
            created_at=now,
            updated_at=now,
        )

    def _seen_again(
        self, study_key: str, study: ArchivedStudy, n_instances: int | None
    ) -> LedgerEntry:
        now = self._clock.now()
        with Session(self._engine) as session, session.begin():
            # The lock lasts for a few statements; SQLite has one writer anyway.
            query = select(ArchiveStudyRow).where(self._is(study_key)).with_for_update()
            row = session.scalars(query).one()
            if row.state != LedgerState.WITHDRAWN.value and self._study(row) != study:
                row.study = self._studies.seal(study, self._row_id(study_key))
                row.patient_key = self._patient_key(study)
                row.updated_at = now
            if n_instances is not None:
                self._count(row, n_instances, now)
            return self._entry(row)

    def _count(self, row: ArchiveStudyRow, n_instances: int, now: datetime) -> None:
        before = self._entry(row).count
        after = before.followed_by(n_instances, now) if before else InstanceCount(n_instances, now)
        if after != before:
            row.n_instances, row.unchanged_since_at = after.n_instances, after.since_at
            row.updated_at = now

    def _released(self, claim: LedgerClaim, state: LedgerState, **values: Any) -> bool:  # noqa: ANN401  # columns of several types
        changes = {"retry_at": None, **values}
        return bool(
            self._changed(
                self._is_held(claim),
                state=state.value,
                claim_token=None,
                claimed_until_at=None,
                **changes,
            )
        )

    def _withdrawn(self, where: ColumnElement[bool], reason: str) -> int:
        return self._changed(
            where,
            state=LedgerState.WITHDRAWN.value,
            last_reason=reason[:REASON_LENGTH],
            claim_token=None,
            claimed_until_at=None,
            retry_at=None,
            study=None,
            patient_key=None,
        )

    def _changed(self, where: ColumnElement[bool], **values: Any) -> int:  # noqa: ANN401  # columns of several types
        """Change rows in one statement and one transaction; return how many."""
        statement = update(ArchiveStudyRow).where(where)
        with Session(self._engine) as session, session.begin():
            result = session.execute(
                statement.values(updated_at=self._clock.now(), **values),
                execution_options={"synchronize_session": False},
            )
            return result.rowcount if isinstance(result, CursorResult) else 0

    def _is_in_scope(self) -> ColumnElement[bool]:
        return ArchiveStudyRow.collection == self._scope.collection

    def _is(self, study_key: str) -> ColumnElement[bool]:
        return and_(self._is_in_scope(), ArchiveStudyRow.study_key == study_key)

    def _is_held(self, claim: LedgerClaim) -> ColumnElement[bool]:
        return and_(
            self._is(claim.study_key),
            ArchiveStudyRow.state == LedgerState.CLAIMED.value,
            ArchiveStudyRow.claim_token == claim.token,
        )

    def _entry(self, row: ArchiveStudyRow) -> LedgerEntry:
        return LedgerEntry(
            study_key=row.study_key,
            study=self._study(row),
            state=LedgerState(row.state),
            n_instances=row.n_instances,
            unchanged_since_at=row.unchanged_since_at,
            n_imported_instances=row.n_imported_instances,
            n_attempts=row.n_attempts,
            last_reason=row.last_reason,
            retry_at=row.retry_at,
        )

    def _study(self, row: ArchiveStudyRow) -> ArchivedStudy | None:
        if row.study is None:
            return None
        return self._studies.unseal(row.study, self._row_id(row.study_key))

    def _row_id(self, study_key: str) -> str:
        return f"{self._scope.collection}/{study_key}"

    def _patient_key(self, study: ArchivedStudy) -> str | None:
        if study.patient_id_value is None:
            return None
        return self._keys.patient_key(self._scope.patient_namespace, study.patient_id_value)


def _is_claimable(now: datetime) -> ColumnElement[bool]:
    row = ArchiveStudyRow
    is_waiting = and_(
        row.state == LedgerState.WAITING.value, or_(row.retry_at.is_(None), row.retry_at <= now)
    )
    is_abandoned = and_(row.state == LedgerState.CLAIMED.value, row.claimed_until_at <= now)
    return or_(is_waiting, is_abandoned)
