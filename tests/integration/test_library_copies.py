"""A copy of a library picture is recognised, excluded and named; or ranked first when asked for."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cds.adapters.dicom_files import frames_from_file
from cds.adapters.storage import initialise
from cds.domain.query import CaseQuery
from cds.domain.report import CaseReport
from cds.engine import Engine, engine_from_settings
from cds.engine.deidentification import shipped_deidentifier
from cds.library.embedding_run import embed_missing
from cds.library.import_run import LibraryImport
from cds.library.source_case import SourceCase, SourcePicture
from cds.settings import Settings

N_PICTURES, N_COPIES = 160, 100
CROPPED_SHARE = 0.05  # at most, of each side on its own
SMALLEST, LARGEST = 0.5, 0.95  # size of the copy
JPEG_QUALITY = 60
WANTED = 98


def copy_of(picture: Path, rng: np.random.Generator) -> bytes:
    """The picture cropped by up to 5 % at each side, rescaled, and saved as JPEG of quality 60."""
    with Image.open(picture) as opened:
        grey = opened.convert("L")
    left, right, top, bottom = rng.uniform(0.0, CROPPED_SHARE, 4)
    width, height = grey.size
    box = (width * left, height * top, width * (1 - right), height * (1 - bottom))
    part = grey.crop(tuple(round(edge) for edge in box))
    scale = rng.uniform(SMALLEST, LARGEST)
    small = part.resize(
        (round(part.width * scale), round(part.height * scale)), Image.Resampling.LANCZOS
    )
    stream = BytesIO()
    small.save(stream, format="JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def distinct_pictures(folder: Path) -> list[Path]:
    """One picture of each patient, so that no other picture may rightly be taken for the copy."""
    files: dict[str, Path] = {}
    with (folder / "metadata.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            files.setdefault(row["patient_id"], folder / row["file"])
    return list(files.values())[:N_PICTURES]


@pytest.fixture(scope="module")
def pictures(shared_dir: Path) -> list[Path]:
    return distinct_pictures(shared_dir / "data/nih_chestxray14_subset")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, pictures: list[Path]) -> Engine:
    settings = Settings(state_dir=tmp_path_factory.mktemp("copies"))
    initialise(settings)
    opened = engine_from_settings(settings)
    storage = opened.storage
    LibraryImport(
        catalogue=storage.catalogue,
        blobs=storage.blobs,
        keys=storage.keys,
        reader=lambda content: frames_from_file(content, isolate=False),
        deidentifier=shipped_deidentifier(storage.keys, writing_reviewed=True),
    ).run(
        (
            SourceCase(
                row_name=file.name,
                collection="films",
                study_name=file.name,
                patient_namespace="films",
                patient_value=file.name,
                pictures=(SourcePicture(file.name, file),),
                modality="DX",
                body_part="CHEST",
                age_years=50,
                is_reference=True,
            )
            for file in pictures
        ),
        source_kind="test",
        collection="films",
    )
    embed_missing(opened.embedder, embeddings=storage.embeddings, blobs=storage.blobs)
    opened.build_index()
    return opened


def answer(engine: Engine, content: bytes, *, keep_copies: bool) -> CaseReport:
    frames = tuple(
        replace(frame, modality="DX", body_part="CHEST")
        for frame in frames_from_file(content, isolate=False)
    )
    query = CaseQuery("cli", "cli", datetime.now(UTC), None, None, frames, keep_copies=keep_copies)
    return engine.analyst.for_pictures(query)


def case_of(engine: Engine, picture: Path) -> str:
    key = engine.keys.study_key(f"films\n{picture.name}")
    case = engine.storage.catalogue.case_by_study("films", key)
    assert case is not None
    return case.case_id


def test_copies_when_cropped_rescaled_and_recompressed_are_found(
    engine: Engine, pictures: list[Path]
) -> None:
    rng = np.random.default_rng(20261126)
    n_first = n_excluded = 0
    for picture in pictures[:N_COPIES]:
        content, case_id = copy_of(picture, rng), case_of(engine, picture)
        kept = answer(engine, content, keep_copies=True)
        n_first += bool(kept.neighbors) and kept.neighbors[0].case_id == case_id
        left_out = answer(engine, content, keep_copies=False)
        named = left_out.already_in_library
        n_excluded += named and case_id not in {n.case_id for n in left_out.neighbors}
    assert n_first >= WANTED
    assert n_excluded >= WANTED


def test_other_films_when_compared_are_not_taken_for_copies(
    engine: Engine, shared_dir: Path
) -> None:
    others = distinct_pictures(shared_dir / "data/kaggle4_cxr")[:60]
    named = [
        answer(engine, file.read_bytes(), keep_copies=False).already_in_library for file in others
    ]
    assert not any(named)
