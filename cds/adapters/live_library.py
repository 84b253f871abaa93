"""What a query sees: a generation without the cases that changed since, and those beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cds.adapters.exact_index import ExactIndex
from cds.adapters.generations import OpenGeneration
from cds.domain.errors import CdsError, Reason
from cds.domain.generation import GenerationTable, IndexPassport, IntArray
from cds.domain.query import Eligibility

BoolArray = NDArray[np.bool_]

DELTA_LIMIT = 2_000  # cases searched exactly beside a generation; further ones wait for the next
READ_CHUNK = 200  # cases read from the database at a time
MISSED_CHANGES = (
    "The index is older than the library's log of changes; rebuild it with `precedent library "
    "index`."
)
UNKNOWN_GENERATION = (
    "The index does not belong to this state of the database; rebuild it with `precedent library "
    "index`."
)


@dataclass(frozen=True, slots=True)
class LogHead:
    """How far the log of changes reaches: its newest number, and the newest that was pruned."""

    sequence: int
    pruned_to: int


class LibraryLog(Protocol):
    """Which cases changed."""

    def head(self) -> LogHead:
        """Return how far the log reaches; cheap: asked at every query."""
        ...

    def changes_after(self, sequence: int) -> Sequence[tuple[int, str]]:
        """Return (number, case id) of every later change, oldest first."""
        ...

    def base_of(self, generation_id: str) -> int | None:
        """Return up to which change a generation was built; None if it is not noted."""
        ...


class DeltaReader(Protocol):
    """Reads changed cases as they are now."""

    def read(self, case_ids: Sequence[str]) -> Mapping[str, Any]:
        """Return, by case id, what `table` is made of, for cases that exist and have a vector."""
        ...

    def table(self, cases: Iterable[Any]) -> GenerationTable:
        """Lay out cases that `read` returned; at least one."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One table that is searched: the generation, or the delta.

    Attributes
    ----------
    hidden
        Shape ``(c,)``: cases of the table that are gone or newer elsewhere; None if there are none.
    patient
        Shape ``(c,)``: number of each case's patient, the same one in every part.
    order
        Shape ``(c,)``: rises with the case id over all parts; decides between equal similarities.

    """

    generation: OpenGeneration
    hidden: BoolArray | None
    patient: IntArray
    order: IntArray

    def eligible_rows(self, eligibility: Eligibility) -> BoolArray:
        """Return which rows may answer, shape ``(n,)``, before copies are excluded."""
        table = self.generation.table
        rows = table.eligible_rows(eligibility)
        return rows if self.hidden is None else rows & ~self.hidden[table.row_case]


@dataclass(frozen=True, slots=True, eq=False)
class LiveView:
    """The parts of one moment, and the passport that names them.

    Attributes
    ----------
    passport
        The generation's, with its counts as of this moment; its id names generation and newest
        change, so that an answer can be traced to exactly what it was computed from.
    n_waiting
        New cases above the delta's bound: they wait for the next generation.

    """

    parts: tuple[Part, ...]
    passport: IndexPassport
    n_waiting: int = 0


class LiveLibrary:
    """Keeps the view of one process up to date.

    Parameters
    ----------
    opened
        Returns the current generation, verified; raises INDEX_UNAVAILABLE.
    log
        What changed since.
    reader
        Reads what changed.
    limit
        How many cases the delta holds at most. Cases that were deleted disappear whatever it says.

    """

    def __init__(
        self,
        opened: Callable[[], OpenGeneration],
        log: LibraryLog,
        reader: DeltaReader,
        *,
        limit: int = DELTA_LIMIT,
    ) -> None:
        self._opened = opened
        self._log = log
        self._reader = reader
        self._limit = limit
        self._lock = threading.Lock()
        self._changes: _Changes | None = None
        self._view: LiveView | None = None

    def view(self) -> LiveView:
        """Return the view as of now.

        Raises
        ------
        CdsError
            INDEX_UNAVAILABLE if there is no generation, or none that fits the database;
            STORAGE_UNAVAILABLE if the database does not answer.

        """
        generation = self._opened()
        head = self._log.head()
        view, changes = self._view, self._changes
        if view is not None and changes is not None and changes.is_current(generation, head):
            return view
        with self._lock:
            try:
                return self._refreshed(generation)
            except CdsError:
                newer = self._opened()
                if newer is generation:
                    raise
                return self._refreshed(newer)  # it was switched in between

    def _refreshed(self, generation: OpenGeneration) -> LiveView:
        """Return the view after reading what is new in the log; called under the lock."""
        base, changes = self._base_of(generation), self._changes
        if changes is None or changes.generation is not generation or changes.base != base:
            changes = _Changes(generation, base, base, {}, frozenset())
        new = self._log.changes_after(changes.sequence)
        if self._log.head().pruned_to > changes.sequence:  # read after the log: nothing was missed
            raise CdsError(Reason.INDEX_UNAVAILABLE, MISSED_CHANGES)
        if new or self._view is None or self._changes is not changes:
            changes = changes.with_new(new, self._reader, self._limit)
            self._view = _view(changes, self._reader)
        self._changes = changes
        assert self._view is not None  # noqa: S101  # made above at the latest
        return self._view

    def _base_of(self, generation: OpenGeneration) -> int:
        base = self._log.base_of(generation.passport.generation_id)
        if base is None:
            raise CdsError(Reason.INDEX_UNAVAILABLE, UNKNOWN_GENERATION)
        return base


@dataclass(frozen=True, slots=True, eq=False)
class _Changes:
    """What changed since a generation, up to a number of the log.

    Attributes
    ----------
    base, sequence
        What the generation holds, and what was read of the log since.
    cases
        By case id: what the case is made of now; None if it is gone or has no vector any more.
    waiting
        Cases that found no room; where the generation has an older state of one, that is shown.

    """

    generation: OpenGeneration
    base: int
    sequence: int
    cases: Mapping[str, Any]
    waiting: frozenset[str]

    def is_current(self, generation: OpenGeneration, head: LogHead) -> bool:
        return self.generation is generation and self.sequence == head.sequence

    def with_new(self, new: Sequence[tuple[int, str]], reader: DeltaReader, limit: int) -> _Changes:
        ids = list(dict.fromkeys(case_id for _, case_id in new))
        cases, waiting = dict(self.cases), set(self.waiting)
        n_held = sum(held is not None for held in cases.values())
        for start in range(0, len(ids), READ_CHUNK):
            chunk = ids[start : start + READ_CHUNK]
            found = reader.read(chunk)
            for case_id in chunk:
                now, before = found.get(case_id), cases.get(case_id)
                if now is not None and before is None and n_held >= limit:
                    waiting.add(case_id)
                    continue
                n_held += (now is not None) - (before is not None)
                cases[case_id] = now
                waiting.discard(case_id)
        sequence = max((number for number, _ in new), default=self.sequence)
        return replace(self, sequence=sequence, cases=cases, waiting=frozenset(waiting))


def plain_view(generation: OpenGeneration) -> LiveView:
    """Return the view of a generation alone."""
    table = generation.table
    part = Part(generation, None, table.case_patient, np.arange(table.case_id.size))
    return LiveView((part,), generation.passport)


def _view(changes: _Changes, reader: DeltaReader) -> LiveView:
    if not changes.cases:
        return replace(plain_view(changes.generation), n_waiting=len(changes.waiting))
    base = changes.generation.table
    hidden = np.isin(base.case_id, np.array(sorted(changes.cases), dtype=np.str_))
    order = 2 * np.arange(base.case_id.size) + 1
    parts = [Part(changes.generation, hidden, base.case_patient, order)]
    held = [case for case in changes.cases.values() if case is not None]
    if held:
        parts.append(_delta_part(changes.generation, reader.table(held)))
    return LiveView(tuple(parts), _passport(changes, parts), len(changes.waiting))


def _delta_part(base: OpenGeneration, table: GenerationTable) -> Part:
    """Return the delta's part: patients numbered, and vectors adapted, like the generation's."""
    if base.adapter is not None:
        table = replace(table, vectors=base.adapter.beside_record(table.vectors))
    keys = base.table.patient_key
    slots = np.searchsorted(keys, table.patient_key)
    is_known = (slots < keys.size) & (keys[np.minimum(slots, keys.size - 1)] == table.patient_key)
    numbers = np.where(is_known, slots, keys.size + np.arange(table.patient_key.size))
    return Part(
        OpenGeneration(table, base.passport, ExactIndex(table.vectors), base.adapter),
        None,
        numbers[table.case_patient].astype(np.int64),
        2 * np.searchsorted(base.table.case_id, table.case_id),
    )


def _passport(changes: _Changes, parts: Sequence[Part]) -> IndexPassport:
    passport = changes.generation.passport
    shown = [np.ones(p.patient.size, np.bool_) if p.hidden is None else ~p.hidden for p in parts]
    patients = [part.patient[cases] for part, cases in zip(parts, shown, strict=True)]
    rows = [cases[part.generation.table.row_case] for part, cases in zip(parts, shown, strict=True)]
    return replace(
        passport,
        generation_id=f"{passport.generation_id}+{changes.sequence}",
        n_rows=int(sum(one.sum() for one in rows)),
        n_cases=int(sum(one.sum() for one in shown)),
        n_patients=int(np.unique(np.concatenate(patients)).size),
    )
