"""Several workers bring in exactly what one brings in, in the same order, with the same vectors."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cds.adapters.dicom_files import frames_from_file
from cds.adapters.storage import Storage, initialise, open_storage
from cds.engine.bulk_import import bulk_import
from cds.engine.deidentification import shipped_deidentifier
from cds.library.embedding_run import embed_missing
from cds.library.import_crew import ImportCrew
from cds.library.import_run import OF_ANOTHER, LibraryImport
from cds.library.import_summary import ImportSummary
from cds.library.source_case import SourceCase, SourcePicture
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


def films_of_studies() -> list[SourceCase]:
    """Six films: two of one study, one that is said to be of another patient's, one too long."""
    studies = ["a", "b", "a", "b", "c", "d"]
    patients = ["1", "2", "1", "3", "4", "5"]
    return [
        SourceCase(
            row_name=f"row {i}",
            collection="films",
            study_name=study,
            patient_namespace="films",
            patient_value=patient,
            pictures=(SourcePicture(f"{i}.png", None, content=png_bytes(i, 60, 50)),),
            modality="DX",
            is_reference=True,
            licence="x" * 201 if study == "d" else "CC0",
        )
        for i, (study, patient) in enumerate(zip(studies, patients, strict=True))
    ]


@pytest.mark.parametrize("cases_together", [1, 2, 32])
def test_cases_when_added_together_depend_on_each_other_as_one_by_one(
    tmp_path: Path, cases_together: int
) -> None:
    settings = Settings(state_dir=tmp_path)
    initialise(settings)
    storage = open_storage(settings)
    summary = LibraryImport(
        catalogue=storage.catalogue,
        blobs=storage.blobs,
        keys=storage.keys,
        reader=partial(frames_from_file, isolate=False),
        deidentifier=shipped_deidentifier(storage.keys),
        crew=ImportCrew(1, None, cases_together),
    ).run(films_of_studies(), source_kind="films")
    n_pictures = sorted(len(case.pictures) for case in storage.catalogue.iter_cases())
    storage.engine.dispose()
    assert (summary.n_cases, summary.n_pictures, n_pictures) == (3, 4, [1, 1, 2])
    assert summary.quarantined == {OF_ANOTHER: 1, "licence is longer than 200 characters": 1}


@pytest.mark.parametrize(("n_workers", "n_cases"), [(0, 1), (1, 0)])
def test_crew_when_without_a_worker_or_a_case_is_refused(n_workers: int, n_cases: int) -> None:
    with pytest.raises(ValueError, match=r"needs a worker|holds a case"):
        ImportCrew(n_workers, None, n_cases)
