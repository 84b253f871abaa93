"""A library in a real database with toy vectors, its index and its upkeep; no encoder is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import text

from cds.adapters.case_library import IndexedCaseLibrary
from cds.adapters.generations import INDEX_FOLDER, GenerationFolder
from cds.adapters.storage import Storage, initialise, open_storage
from cds.adapters.writer_lock import WriterLock
from cds.domain.query import BlockWeights, Eligibility, FusedQuery
from cds.domain.ranking import Ranking
from cds.engine.index_upkeep import IndexParts, IndexUpkeep
from cds.library.index_building import EncoderIdentity
from cds.settings import Settings
from models.patient_features import CataloguePatientFeatures
from tests.builders.library import a_case, a_picture
from tests.fakes.clock import FixedClock

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
DIMENSION = 16
ENCODER = EncoderIdentity("toy", "e" * 64, DIMENSION)
ELIGIBLE = Eligibility(known_before=NOW)


def a_vector(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=DIMENSION)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def perceptual_hash_of(number: int) -> int:
    return int.from_bytes(sha256(str(number).encode()).digest(), "big")


def case_id_of(number: int) -> str:
    return f"c{number:04d}"


def a_query(number: int) -> FusedQuery:
    return FusedQuery(BlockWeights(0.6), image=a_vector(number))


@dataclass(frozen=True)
class IndexedLibrary:
    """One process's view of an installation."""

    settings: Settings
    storage: Storage
    library: IndexedCaseLibrary
    upkeep: IndexUpkeep

    @property
    def generations(self) -> GenerationFolder:
        return GenerationFolder(self.index_folder)

    @property
    def index_folder(self) -> Path:
        return self.settings.state_dir / INDEX_FOLDER

    def add(self, numbers: Sequence[int], **changes: Any) -> None:
        """Import and embed cases, as an import does: the vectors come after the cases."""
        vectors = {}
        for number in numbers:
            picture = a_picture(f"pic{number}", perceptual_hash=perceptual_hash_of(number))
            case = a_case(case_id_of(number), **{"pictures": (picture,), **changes})
            assert self.storage.catalogue.add_case(case, content_sha256=[f"sha{number}"], notes={})
            vectors[picture.picture_id] = a_vector(number)
        self.storage.embeddings.add_embeddings(ENCODER.sha256, vectors)

    def delete(self, *numbers: int) -> None:
        """Remove cases by SQL alone, as whoever erases one does."""
        with self.storage.engine.begin() as connection:
            for number in numbers:
                connection.execute(
                    text("DELETE FROM library_case WHERE case_id = :case_id"),
                    {"case_id": case_id_of(number)},
                )

    def rank(self, number: int, *, cutoff: int = 1000, **eligibility: Any) -> Ranking:
        wanted = Eligibility(**{"known_before": NOW, **eligibility})
        return self.library.rank(a_query(number), wanted, cutoff=cutoff)


@contextmanager
def an_indexed_library(
    folder: Path, database_url: str, *, limit: int = 50
) -> Iterator[IndexedLibrary]:
    """Open an installation, initialised if need be; each call is like a process of its own."""
    settings = Settings(state_dir=folder, database_url=database_url)
    initialise(settings)
    clock = FixedClock(NOW)
    storage = open_storage(settings, clock)
    features = CataloguePatientFeatures()
    generations = GenerationFolder(folder / INDEX_FOLDER)
    library = IndexedCaseLibrary(
        generations,
        storage.catalogue.cases,
        encoder_hash=ENCODER.sha256,
        feature_version=features.version,
    )
    parts = IndexParts(
        storage=storage,
        generations=generations,
        lock=WriterLock(folder / INDEX_FOLDER, storage.engine),
        features=features,
        encoder=ENCODER,
        library_name="toy library",
        clock=clock,
    )
    try:
        yield IndexedLibrary(settings, storage, library, IndexUpkeep(parts, library, limit=limit))
    finally:
        storage.engine.dispose()
