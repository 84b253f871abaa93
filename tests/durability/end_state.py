"""Everything that an installation holds, as a value that two installations can be compared by."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import select

from cds.adapters.sql.models import CasePictureRow, IndexGeneration
from cds.domain.query import BlockWeights, Eligibility, FusedQuery
from cds.engine import Engine, engine_from_settings
from cds.settings import Settings

RANDOM_NAMES = ("key.json",)


@dataclass(frozen=True)
class EndState:
    """What was kept; times, run ids, nonces and ciphertexts differ from run to run and are not in.

    Attributes
    ----------
    files
        Every file below the state folder, apart from the database's own.
    ranking
        Hits with similarities, counts, and the id of the generation, of three queries.

    """

    cases: tuple[Any, ...]
    notes: tuple[Any, ...]
    pictures: tuple[Any, ...]
    quarantine: tuple[Any, ...]
    vectors: tuple[Any, ...]
    blobs: tuple[Any, ...]
    generations: tuple[Any, ...]
    files: tuple[str, ...]
    ranking: tuple[Any, ...]
    is_index_complete: bool


def end_state(settings: Settings) -> EndState:
    """Read an installation."""
    engine = engine_from_settings(settings)
    try:
        return _read(engine)
    finally:
        engine.storage.engine.dispose()


def _read(engine: Engine) -> EndState:
    storage = engine.storage
    cases = tuple(storage.catalogue.iter_cases())
    vectors = storage.embeddings.embeddings(engine.embedder.encoder_hash)
    with storage.engine.connect() as connection:
        pictures = connection.execute(
            select(
                CasePictureRow.picture_id,
                CasePictureRow.case_id,
                CasePictureRow.position,
                CasePictureRow.content_key,
                CasePictureRow.blob_key,
            ).order_by(CasePictureRow.picture_id)
        ).all()
        current = connection.scalars(
            select(IndexGeneration.generation_id).where(IndexGeneration.is_current)
        ).all()
    return EndState(
        cases=cases,
        notes=tuple(sorted(storage.catalogue.notes_of(case.case_id).items()) for case in cases),
        pictures=tuple(tuple(row) for row in pictures),
        quarantine=tuple(sorted(storage.catalogue.rejected_files())),
        vectors=tuple((i, vectors[i].tobytes()) for i in sorted(vectors)),
        blobs=tuple(_blob(engine, path) for path in _blob_files(engine)),
        generations=(tuple(current), (engine.settings.state_dir / "index/current").read_text()),
        files=_files(engine.settings.state_dir),
        ranking=tuple(_ranking(engine, vectors[i]) for i in sorted(vectors)[:3]),
        is_index_complete=engine.upkeep.present() is not None,
    )


def _blob_files(engine: Engine) -> list[Path]:
    return sorted(p for p in (engine.settings.state_dir / "blobs").rglob("*") if p.is_file())


def _blob(engine: Engine, path: Path) -> tuple[str, str]:
    return path.name, sha256(engine.storage.blobs.get(path.name)).hexdigest()


def _files(folder: Path) -> tuple[str, ...]:
    found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return tuple(sorted(name for name in found if not name.startswith("precedent.db")))


def _ranking(engine: Engine, vector: Any) -> tuple[Any, ...]:
    ranking = engine.library.rank(
        FusedQuery(BlockWeights(1.0), image=vector),
        Eligibility(known_before=engine.clock.now()),
        cutoff=31,
    )
    hits = tuple((hit.case.case_id, round(hit.similarity, 5)) for hit in ranking.hits)
    return hits, ranking.eligible, ranking.generation_id
