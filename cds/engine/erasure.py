"""Composition of an erasure, and the searches that prove it: the product's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from cds.adapters.erasure_traces import StateTraces
from cds.adapters.index_removal import GenerationRemoval
from cds.adapters.picture_removal import BlobRemoval
from cds.adapters.sql.erasure import SqlErasures
from cds.adapters.tombstone_file import JsonLinesTombstones
from cds.domain.erasure import RemovedFile, SearchOutcome
from cds.domain.errors import CdsError, Reason
from cds.domain.query import BlockWeights, Eligibility, FusedQuery
from cds.engine import Engine, generation_folder
from cds.engine.adaptation import refit_note
from cds.library.erasure import NO_TRAINING, SEARCH_CUTOFF, ErasureTools, LibraryErasure
from models.manifest import read_manifest
from models.shipped import shipped_encoder

TOMBSTONE_FILE = "erasure-tombstones.jsonl"  # in the state folder
EVERY_GENERATION = 1_000_000  # kept by the build: the receipt names what is removed, later
_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EngineSearch:
    """Implements `cds.library.erasure.LibrarySearch` with the engine's own ranking."""

    engine: Engine
    erasures: SqlErasures
    removal: GenerationRemoval

    def probes(self, picture_ids: Sequence[str]) -> tuple[tuple[float, ...], ...]:
        """Return the vectors of those pictures that have one."""
        vectors = self._vectors(picture_ids)
        return tuple(tuple(vectors[p].tolist()) for p in picture_ids if p in vectors)

    def owners(self, picture_ids: Sequence[str]) -> tuple[str, ...]:
        """Return the owning EHR of those pictures that have a vector, empty for none."""
        vectors = self._vectors(picture_ids)
        owner = self.erasures.owner_of_pictures(picture_ids)
        return tuple(owner.get(p, "") for p in picture_ids if p in vectors)

    def search(
        self, probes: Sequence[Sequence[float]], owners: Sequence[str], case_ids: Sequence[str]
    ) -> SearchOutcome:
        """Rank the library by each vector, nothing excluded."""
        wanted, ranks = frozenset(case_ids), []
        for probe, owner in zip(probes, owners, strict=True):
            found = self._ranking(probe, owner)
            ranks.append(next((i for i, case_id in enumerate(found) if case_id in wanted), None))
        return SearchOutcome(
            n_searches=len(probes),
            n_at_rank_1=sum(rank == 0 for rank in ranks),
            n_found=sum(rank is not None for rank in ranks),
        )

    def generations(self) -> tuple[str, ...]:
        """Return the ids of every index generation on the disk."""
        return self.removal.generation_ids()

    def rebuild(self) -> str | None:
        """Build a generation of what is left and make it current; None if nothing is left."""
        storage = self.engine.storage
        if not storage.embeddings.embeddings(self.engine.embedder.encoder_hash):
            return None
        return self.engine.upkeep.build(kept=EVERY_GENERATION).generation_id

    def other_files(self, generation_id: str | None) -> tuple[RemovedFile, ...]:
        """Return the files of every other generation, with their checksums."""
        return self.removal.files_besides(generation_id)

    def forget_others(self, generation_id: str | None) -> None:
        """Remove every other generation, and what the log of changes names."""
        self.removal.remove_besides(generation_id)
        self.engine.upkeep.forget_changes()

    def _vectors(self, picture_ids: Sequence[str]) -> dict[str, np.ndarray]:
        embeddings = self.engine.storage.embeddings
        return dict(embeddings.embeddings_of(self.engine.embedder.encoder_hash, picture_ids))

    def _ranking(self, probe: Sequence[float], owner: str) -> list[str]:
        query = FusedQuery(BlockWeights(1.0), image=np.array(probe, dtype=np.float32))
        eligibility = Eligibility(known_before=_EVER, ehr_id=owner or None)
        try:
            ranking = self.engine.library.rank(query, eligibility, cutoff=SEARCH_CUTOFF)
        except CdsError as error:
            if error.reason is not Reason.INDEX_UNAVAILABLE:
                raise
            return []  # without an index nobody is found
        return [hit.case.case_id for hit in ranking.hits]


def library_erasure(engine: Engine) -> LibraryErasure:
    """Wire an erasure over an engine."""
    storage, settings = engine.storage, engine.settings
    erasures = SqlErasures(storage.engine, storage.cipher, storage.rows)
    removal = GenerationRemoval(generation_folder(settings), storage.engine)
    return LibraryErasure(
        ErasureTools(
            ledger=erasures,
            tombstone_file=JsonLinesTombstones(settings.state_dir / TOMBSTONE_FILE),
            pictures=BlobRemoval(storage.blobs, erasures),
            search=EngineSearch(engine, erasures, removal),
            traces=StateTraces(storage.engine, storage.cipher, erasures, settings.state_dir),
            clock=engine.clock,
            training_note=lambda collections: _trained_note(engine, collections),
        )
    )


def _trained_note(engine: Engine, collections: Sequence[str]) -> str:
    """Add to the encoder's note that the site adapter has to be fitted again."""
    note, refit = training_note(collections), refit_note(engine) if collections else None
    return note if refit is None else f"{note} {refit}"


_TELLING_LETTERS = 6  # shorter names are in many others


def training_note(collections: Sequence[str]) -> str:
    """Say what is known about models that were trained with these collections."""
    manifest = read_manifest(shipped_encoder())
    sources = {_plain(row.source) for row in manifest.training}
    trained = sorted(name for name in collections if _is_among(_plain(name), sources))
    if not trained:
        return NO_TRAINING
    return (
        f"The model {manifest.name} was trained on pictures of {', '.join(trained)}; whether this "
        "patient's were among them is not recorded. A person has to decide what follows."
    )


def _is_among(name: str, sources: set[str]) -> bool:
    """Tell whether one name holds the other: importers and encoders do not spell alike."""
    return name in sources or (
        len(name) >= _TELLING_LETTERS and any(name in one or one in name for one in sources)
    )


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
