"""The index in step with the database: built by one writer, repaired when damaged."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cds.adapters.case_library import ANOTHER_ENCODER, IndexedCaseLibrary
from cds.adapters.encoder_generations import EncoderGenerations
from cds.adapters.generations import INDEX_FOLDER, KEPT_GENERATIONS, GenerationFolder
from cds.adapters.live_library import DELTA_LIMIT
from cds.adapters.site_adapters import NOTE, AdapterNote, SiteAdapters
from cds.adapters.sql.library_log import SqlLibraryLog
from cds.adapters.storage import Storage
from cds.adapters.writer_lock import WAIT_S, WriterLock
from cds.domain.errors import CdsError, Reason
from cds.domain.generation import GenerationTable, IndexPassport
from cds.domain.projection import Projection, adapter_sha256
from cds.library.adaptation import adapted_cases, adapted_identity
from cds.library.index_building import (
    EmbeddedCase,
    EncoderIdentity,
    build_generation,
    generation_table,
)
from cds.library.picture_preparation import kept_thumbnail
from cds.ports import Clock, PatientFeatures
from models.out_of_distribution import fit_gate

log = logging.getLogger(__name__)

REPAIR_INTERVAL_S = 60.0  # between two attempts of one process to repair
REPAIR_SHARE = 10  # and ten times what the last one took: queries come before building


@dataclass(frozen=True, slots=True)
class IndexParts:
    """What an index is made of, and where it lies."""

    storage: Storage
    generations: GenerationFolder
    lock: WriterLock
    features: PatientFeatures
    encoder: EncoderIdentity
    library_name: str
    clock: Clock


class CasesAsTheyAre:
    """Reads single cases with their vectors; implements `cds.adapters.live_library.DeltaReader`."""

    def __init__(self, parts: IndexParts) -> None:
        self._parts = parts

    def read(self, case_ids: Sequence[str]) -> Mapping[str, EmbeddedCase]:
        """Return the cases that exist and have a vector of the current encoder."""
        storage, encoder = self._parts.storage, self._parts.encoder
        cases = storage.catalogue.cases(case_ids)
        pictures = [p.picture_id for case in cases.values() for p in case.pictures]
        vectors = storage.embeddings.embeddings_of(encoder.sha256, pictures)
        embedded = {i: embedded_case(case, vectors) for i, case in cases.items()}
        return {case_id: case for case_id, case in embedded.items() if case.vectors}

    def table(self, cases: Iterable[Any]) -> GenerationTable:
        """Lay the cases out in columns."""
        parts = self._parts
        return generation_table(cases, features=parts.features, dimension=parts.encoder.dimension)


class IndexUpkeep:
    """Builds generations from the database, one writer at a time.

    Parameters
    ----------
    parts
        What an index is made of.
    library
        What queries are answered from; it follows the database's log of changes from now on.
    limit
        How many new cases are searched beside a generation.

    """

    def __init__(
        self, parts: IndexParts, library: IndexedCaseLibrary, *, limit: int = DELTA_LIMIT
    ) -> None:
        self._parts = parts
        self._library = library
        self._log = SqlLibraryLog(parts.storage.engine)
        self._repair = threading.Lock()
        self._not_before_s = 0.0
        library.follow(self._log, CasesAsTheyAre(parts), limit=limit)

    def build(
        self,
        *,
        only_if_due: bool = False,
        kept: int = KEPT_GENERATIONS,
        wait_s: float = WAIT_S,
        on_wait: Callable[[], None] | None = None,
    ) -> IndexPassport:
        """Build a generation from every embedded case and make it current.

        Generations are written beside the present one, noted in the database and then switched to:
        a kill at any point leaves one that is whole and that the database knows.

        Parameters
        ----------
        only_if_due
            Keep the present generation if it opens and nothing changed since it was built.
        kept
            Generations that stay on the disk; 1 after an erasure.
        wait_s, on_wait
            See `WriterLock.held`.

        Raises
        ------
        CdsError
            INDEX_UNAVAILABLE if no case is embedded, or another process builds for too long;
            STORAGE_UNAVAILABLE if the disk is full or the database does not answer.

        """
        with self._parts.lock.held(wait_s=wait_s, on_wait=on_wait):
            present = self.present() if only_if_due else None
            if present is not None:
                self._parts.generations.forget_others(kept=kept)  # a killed writer did not
                return present
            return self._built(kept, self._adapter_in_use())

    def switch_adapter(
        self,
        adapter: Projection | None,
        *,
        wait_s: float = WAIT_S,
        on_wait: Callable[[], None] | None = None,
    ) -> IndexPassport:
        """Build a generation behind another site adapter, or behind none, and make it current.

        The kept vectors are projected, nothing is embedded again. Adapter and index switch
        together: the adapter's file is part of the generation.

        Raises
        ------
        CdsError
            As `build`.

        """
        with self._parts.lock.held(wait_s=wait_s, on_wait=on_wait):
            note = None if adapter is None else self.adapters.keep(adapter)
            return self._built(KEPT_GENERATIONS, note)

    @property
    def adapters(self) -> SiteAdapters:
        """Return what is known of the site adapter in use."""
        return SiteAdapters(self._parts.storage, self._parts.generations)

    def forget_changes(self) -> None:
        """Forget the log up to the present generation, or all of it where there is none.

        After an erasure, so that nothing names the case any more. A reader of an older generation
        takes the present one at its next query.

        Raises
        ------
        CdsError
            INDEX_UNAVAILABLE if another process builds for too long; STORAGE_UNAVAILABLE if the
            database does not answer.

        """
        with self._parts.lock.held():
            head = self._log.head()
            present = self._parts.generations.current_id()
            base = None if present is None else self._log.base_of(present)
            self._log.prune(head.sequence if base is None else base)

    def present(self) -> IndexPassport | None:
        """Return the passport of the present generation if it is sound and complete, else None."""
        try:
            view = self._library.view()
        except CdsError as error:
            if error.reason is not Reason.INDEX_UNAVAILABLE:
                raise
            return None
        is_complete = len(view.parts) == 1 and view.parts[0].hidden is None and not view.n_waiting
        is_complete = is_complete and not view.passport.is_outdated
        return view.passport if is_complete else None

    def repair_if_due(self) -> bool:
        """Rebuild an index that is missing, damaged, outdated or full of changes; tell if it was.

        Another process that is at work already is left to it. A library without embedded cases has
        nothing to build from: that is no failure. An index of another encoder is left alone: how
        much of the library is embedded anew is for a person to judge.

        Raises
        ------
        CdsError
            STORAGE_UNAVAILABLE if the disk is full or the database does not answer.

        """
        if not self._is_due():
            return False
        try:
            with self._parts.lock.held(wait_s=0):
                if not self._is_due():
                    return False
                self._built(KEPT_GENERATIONS, self._adapter_in_use())
        except CdsError as error:
            if error.reason is Reason.INDEX_UNAVAILABLE:
                return False
            raise
        return True

    def repair_in_background(self) -> None:
        """Run `repair_if_due` in a thread of its own, unless one runs or ran a moment ago."""
        if not self._repair.acquire(blocking=False):
            return
        if time.monotonic() < self._not_before_s:
            self._repair.release()
            return
        threading.Thread(target=self._repaired, name="index-repair", daemon=True).start()

    def _repaired(self) -> None:
        started_s = time.monotonic()
        try:
            if self.repair_if_due():
                log.warning("index-rebuilt")
        except CdsError as error:
            log.error("index-not-rebuilt", extra={"reason": error.reason.value})  # noqa: TRY400  # no traceback: it may hold values
        finally:
            ended_s = time.monotonic()
            pause_s = max(REPAIR_INTERVAL_S, REPAIR_SHARE * (ended_s - started_s))
            self._not_before_s = ended_s + pause_s
            self._repair.release()

    def _is_due(self) -> bool:
        try:
            view = self._library.view()
        except CdsError as error:
            if error.reason is not Reason.INDEX_UNAVAILABLE:
                raise
            return error.facts.get("trouble") != ANOTHER_ENCODER
        return view.n_waiting > 0 or view.passport.is_outdated

    def _adapter_in_use(self) -> AdapterNote | None:
        """Return the adapter that a rebuild keeps; that of another encoder cannot be kept."""
        note = self.adapters.in_use()
        if note is not None and note.record.encoder_hash != self._parts.encoder.sha256:
            log.warning("site-adapter-of-another-encoder-dropped")
            return None
        return note

    def _built(self, kept: int, note: AdapterNote | None) -> IndexPassport:
        """Build under the lock; changes that come in meanwhile stay in the log."""
        parts, log_head = self._parts, self._log.head()
        in_use = parts.generations.pointed_ids()
        content = None if note is None else self.adapters.content(note)
        adapter = None if content is None else Projection.from_npz(content)
        passport = build_generation(
            adapted_cases(self._embedded_cases(), adapter),
            features=parts.features,
            encoder=adapted_identity(parts.encoder, adapter),
            library_name=parts.library_name,
            built_at=parts.clock.now(),
            writer=StoreOnly(parts.generations, content),
        )
        parts.storage.embeddings.add_generation(
            passport.generation_id,
            passport_json=_noted(passport, note),
            folder=f"{INDEX_FOLDER}/{passport.generation_id}",
            created_at=parts.clock.now(),
            base_sequence=log_head.sequence,
            is_current=parts.generations.is_serving(),
        )
        parts.generations.switch(passport.generation_id)
        self._log.prune(log_head.sequence if kept == 1 else self._held_by_all(in_use))
        parts.generations.forget_others(kept=kept)
        return passport

    def _held_by_all(self, generation_ids: Iterable[str]) -> int:
        """Return up to which change every one of these generations was built."""
        bases = [self._log.base_of(generation_id) for generation_id in generation_ids]
        return min((base for base in bases if base is not None), default=0)

    def _embedded_cases(self) -> Iterable[EmbeddedCase]:
        storage = self._parts.storage
        vectors = storage.embeddings.embeddings(self._parts.encoder.sha256)
        return (embedded_case(case, vectors) for case in storage.catalogue.iter_cases())


def library_with_upkeep(
    storage: Storage,
    *,
    generations: EncoderGenerations,
    encoder: EncoderIdentity,
    features: PatientFeatures,
    library_name: str,
    clock: Clock,
) -> tuple[IndexedCaseLibrary, IndexUpkeep]:
    """Wire the library that queries are answered from, and what keeps its index.

    Parameters
    ----------
    storage
        The installation's database and pictures.
    generations
        Those of this encoder.
    encoder, features
        What vectors and record blocks are made with.
    library_name, clock
        For the index passport.

    """
    library = IndexedCaseLibrary(
        generations,
        storage.catalogue.cases,
        encoder_hash=encoder.sha256,
        feature_version=features.version,
        thumbnail_of=lambda picture: kept_thumbnail(storage.blobs, picture),
    )
    parts = IndexParts(
        storage=storage,
        generations=generations,
        lock=WriterLock(generations.folder, storage.engine),
        features=features,
        encoder=replace(encoder, fit_gate=fit_gate),
        library_name=library_name,
        clock=clock,
    )
    return library, IndexUpkeep(parts, library)


class StoreOnly:
    """Stores a generation without switching to it: the database has to know it first."""

    def __init__(self, generations: GenerationFolder, adapter: bytes | None = None) -> None:
        self._generations = generations
        self._adapter = adapter

    def write(self, table: GenerationTable, passport: IndexPassport) -> IndexPassport:
        """Return the passport as stored; it names the site adapter."""
        if self._adapter is not None:
            passport = replace(passport, adapter_sha256=adapter_sha256(self._adapter))
        return self._generations.store(table, passport, adapter=self._adapter)


def _noted(passport: IndexPassport, note: AdapterNote | None) -> str:
    """Return what the database notes of a generation."""
    adapter = None if note is None else note.to_json()
    return json.dumps({**asdict(passport), NOTE: adapter})


def embedded_case(case: Any, vectors: Mapping[str, Any]) -> EmbeddedCase:  # noqa: ANN401
    """Return a case with the vectors that its pictures have."""
    return EmbeddedCase(
        case,
        tuple((p, vectors[p.picture_id]) for p in case.pictures if p.picture_id in vectors),
    )
