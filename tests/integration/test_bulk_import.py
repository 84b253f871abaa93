"""Several workers bring in exactly what one brings in, in the same order, with the same vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cds.adapters.storage import Storage, initialise, open_storage
from cds.engine.bulk_import import bulk_import
from cds.library.embedding_run import embed_missing
from cds.library.import_crew import ImportCrew
from cds.library.import_summary import ImportSummary
from cds.library.sources import SourceRequest, open_source
from cds.settings import Settings
from models.embedder import OnnxImageEmbedder
from models.shipped import shipped_encoder
from tests.builders.library import NativeFolder, a_native_row, png_bytes

N_ROWS = 24


def a_folder(folder: Path) -> SourceRequest:
    """Rows of twelve patients: good pictures, a double, a broken one, a missing one."""
    pictures = {f"{i}.png": png_bytes(i, 60, 50) for i in range(N_ROWS)}
    pictures["5.png"] = pictures["4.png"]
    pictures["6.png"] = b"no picture at all"
    rows = [a_native_row(patientid=str(i // 2), filename=f"{i}.png") for i in range(N_ROWS)]
    rows.append(a_native_row(patientid="99", filename="absent.png"))
    return SourceRequest(folder=NativeFolder(folder).write(rows, pictures))


def brought_in(
    folder: Path, request: SourceRequest, *, n_workers: int, embeds: bool = True
) -> tuple[ImportSummary, Storage]:
    settings = Settings(state_dir=folder)
    initialise(settings)
    storage = open_storage(settings)
    source = open_source(request)
    with bulk_import(settings, storage, n_workers=n_workers, embeds=embeds) as importing:
        summary = importing.run(source.rows, source_kind=source.layout)
    return summary, storage


def counts(summary: ImportSummary) -> dict[str, object]:
    return {k: v for k, v in summary.to_json().items() if k != "run_id"}


def vectors(storage: Storage) -> dict[str, np.ndarray]:
    """Return the vectors by the picture's size-independent place: its case's film, its hash."""
    encoder = OnnxImageEmbedder.from_folder(shipped_encoder())
    held = storage.embeddings.embeddings(encoder.encoder_hash)
    return {
        str(p.perceptual_hash): held[p.picture_id]
        for case in storage.catalogue.iter_cases()
        for p in case.pictures
        if p.picture_id in held
    }


def test_import_when_done_by_several_workers_equals_that_of_one(tmp_path: Path) -> None:
    request = a_folder(tmp_path / "set")
    one, alone = brought_in(tmp_path / "one", request, n_workers=1)
    three, together = brought_in(tmp_path / "three", request, n_workers=3)
    assert counts(one) == counts(three)
    assert (one.n_cases, one.n_duplicates, one.n_quarantined) == (22, 1, 2)
    assert vectors(alone).keys() == vectors(together).keys()
    for key, vector in vectors(alone).items():
        np.testing.assert_array_equal(vector, vectors(together)[key])


def test_vectors_when_made_on_entry_equal_those_of_a_later_run(tmp_path: Path) -> None:
    request = a_folder(tmp_path / "set")
    _, on_entry = brought_in(tmp_path / "entry", request, n_workers=2)
    _, later = brought_in(tmp_path / "later", request, n_workers=2, embeds=False)
    encoder = OnnxImageEmbedder.from_folder(shipped_encoder())
    assert embed_missing(encoder, embeddings=on_entry.embeddings, blobs=on_entry.blobs) == 0
    assert embed_missing(encoder, embeddings=later.embeddings, blobs=later.blobs) == 22
    made = vectors(on_entry)
    for key, vector in vectors(later).items():
        np.testing.assert_allclose(vector, made[key], atol=1e-6)


def test_crew_when_without_a_worker_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a worker"):
        ImportCrew(0)
