"""A `cds.library.archive_ports.ArchiveLedger` in memory."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from cds.adapters.archive_ledger import LedgerScope
from cds.domain.archive import ArchivedStudy, LedgerClaim, LedgerEntry, LedgerState
from cds.domain.completeness import InstanceCount
from cds.ports import Clock, IdentityKeys

LONGEST_REASON = 300


@dataclass(frozen=True)
class _Row:
    entry: LedgerEntry
    patient_key: str | None = None
    claim: LedgerClaim | None = None


class MemoryArchiveLedger:
    """Ledgers that share `rows` are importers over one store."""

    def __init__(
        self, keys: IdentityKeys, clock: Clock, scope: LedgerScope, rows: dict[Any, Any]
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._scope = scope
        self._all: dict[tuple[str, str], _Row] = rows

    def see(self, study: ArchivedStudy, *, n_instances: int | None = None) -> LedgerEntry:
        key = self._keys.study_key(study.study_instance_uid)
        row = self._row(key) or _Row(LedgerEntry(key, None, LedgerState.WAITING))
        entry = row.entry
        if entry.state is not LedgerState.WITHDRAWN:
            patient = study.patient_id_value
            namespace = self._scope.patient_namespace
            row = replace(
                row, patient_key=self._keys.patient_key(namespace, patient) if patient else None
            )
            entry = replace(entry, study=study)
        if n_instances is not None:
            now = self._clock.now()
            before = entry.count
            count = (
                before.followed_by(n_instances, now) if before else InstanceCount(n_instances, now)
            )
            entry = replace(entry, n_instances=count.n_instances, unchanged_since_at=count.since_at)
        self._put(key, replace(row, entry=entry))
        return entry

    def claim(self, study_key: str, *, lease_s: float) -> LedgerClaim | None:
        row = self._row(study_key)
        if row is None or not self._is_claimable(row):
            return None
        until_at = self._clock.now() + timedelta(seconds=lease_s)
        claim = LedgerClaim(study_key, secrets.token_hex(16), until_at)
        entry = replace(row.entry, state=LedgerState.CLAIMED, n_attempts=row.entry.n_attempts + 1)
        self._put(study_key, replace(row, entry=entry, claim=claim))
        return claim

    def extend(self, claim: LedgerClaim, *, lease_s: float) -> LedgerClaim | None:
        row = self._held(claim)
        if row is None:
            return None
        until_at = self._clock.now() + timedelta(seconds=lease_s)
        extended = replace(claim, until_at=until_at)
        self._put(claim.study_key, replace(row, claim=extended))
        return extended

    def mark_imported(self, claim: LedgerClaim, *, n_instances: int) -> bool:
        return self._release(
            claim,
            state=LedgerState.IMPORTED,
            n_imported_instances=n_instances,
            last_reason=None,
        )

    def mark_waiting(self, claim: LedgerClaim, reason: str, *, retry_at: datetime) -> bool:
        reason = reason[:LONGEST_REASON]
        return self._release(
            claim, state=LedgerState.WAITING, last_reason=reason, retry_at=retry_at
        )

    def mark_failed(self, claim: LedgerClaim, reason: str) -> bool:
        return self._release(claim, state=LedgerState.FAILED, last_reason=reason[:LONGEST_REASON])

    def withdraw(self, study_key: str, reason: str) -> None:
        row = self._row(study_key)
        if row is not None:
            entry = replace(
                row.entry,
                state=LedgerState.WITHDRAWN,
                study=None,
                last_reason=reason[:LONGEST_REASON],
                retry_at=None,
            )
            self._put(study_key, _Row(entry))

    def withdraw_patient(self, patient_key: str, reason: str) -> int:
        found = [r.entry.study_key for r in self._rows() if r.patient_key == patient_key]
        for study_key in found:
            self.withdraw(study_key, reason)
        return len(found)

    def reopen(self, study_key: str, reason: str) -> None:
        row = self._row(study_key)
        open_already = {LedgerState.WAITING, LedgerState.CLAIMED}
        if row is not None and row.entry.state not in open_already:
            entry = replace(
                row.entry,
                state=LedgerState.WAITING,
                last_reason=reason[:LONGEST_REASON],
                n_attempts=0,
                retry_at=None,
            )
            self._put(study_key, replace(row, entry=entry))

    def entry(self, study: ArchivedStudy) -> LedgerEntry | None:
        row = self._row(self._keys.study_key(study.study_instance_uid))
        return None if row is None else row.entry

    def due(self, *, limit: int = 1000) -> tuple[LedgerEntry, ...]:
        found = [r.entry for r in self._rows() if r.entry.study and self._is_claimable(r)]
        return tuple(found[:limit])

    def entries(self, state: LedgerState) -> Iterator[LedgerEntry]:
        yield from [r.entry for r in self._rows() if r.entry.state is state]

    def tally(self) -> Mapping[LedgerState, int]:
        return dict(Counter(r.entry.state for r in self._rows()))

    def _rows(self) -> list[_Row]:
        return [r for (collection, _), r in self._all.items() if collection == self._collection]

    @property
    def _collection(self) -> str:
        return self._scope.collection

    def _row(self, study_key: str) -> _Row | None:
        return self._all.get((self._collection, study_key))

    def _put(self, study_key: str, row: _Row) -> None:
        self._all[self._collection, study_key] = row

    def _held(self, claim: LedgerClaim) -> _Row | None:
        row = self._row(claim.study_key)
        is_held = row is not None and row.claim is not None and row.claim.token == claim.token
        return row if is_held else None

    def _release(self, claim: LedgerClaim, **changes: Any) -> bool:
        row = self._held(claim)
        if row is None:
            return False
        entry = replace(row.entry, **{"retry_at": None, **changes})
        self._put(claim.study_key, replace(row, entry=entry, claim=None))
        return True

    def _is_claimable(self, row: _Row) -> bool:
        now = self._clock.now()
        if row.entry.state is LedgerState.CLAIMED:
            return row.claim is not None and row.claim.until_at <= now
        retry_at = row.entry.retry_at
        return row.entry.state is LedgerState.WAITING and (retry_at is None or retry_at <= now)
