"""Identities planted in every attribute of DICOM files are nowhere after an import."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from cds.adapters.dicom_files import frames_from_file
from cds.adapters.sql.models import Table
from cds.adapters.storage import Storage, initialise, open_storage
from cds.engine.deidentification import shipped_deidentifier
from cds.library.burned_in_text import TEXT_ON_PIXELS
from cds.library.import_run import ImportSummary, LibraryImport
from cds.library.source_case import SourceCase, SourcePicture
from cds.settings import Settings
from tests.builders.burned_in import a_smooth_picture, with_writing
from tests.builders.dicom import a_dataset, dicom_bytes
from tests.builders.seeded_header import TRACES, WORD, seeded

REPORT = (
    "The heart is normal in size. There is a small left pleural effusion. No pneumothorax. "
    f"Seen by Dr {WORD}."
)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    settings = Settings(state_dir=tmp_path / "state")
    initialise(settings)
    opened = open_storage(settings)
    yield opened
    opened.engine.dispose()


def a_seeded_film(tmp_path: Path, **overrides: object) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # planted words are no valid code strings
        dataset = a_dataset(a_smooth_picture(120, 100))
        for element in seeded():
            if element.keyword not in {"SOPClassUID"}:
                dataset[element.tag] = element
        dataset.BodyPartExamined, dataset.ViewPosition = WORD, WORD
        for keyword, value in overrides.items():
            setattr(dataset, keyword, value)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        path = tmp_path / "film.dcm"
        path.write_bytes(dicom_bytes(dataset))
    return path


def imported(storage: Storage, *files: Path) -> ImportSummary:
    rows = [
        SourceCase(
            row_name="row",
            collection="collection A",
            study_name=file.name,
            patient_namespace="collection A",
            patient_value=None,
            pictures=(SourcePicture("film", file),),
            known_at=datetime(2020, 1, 1, tzinfo=UTC),
            notes={"report_text": REPORT},
        )
        for file in files
    ]
    return LibraryImport(
        catalogue=storage.catalogue,
        blobs=storage.blobs,
        keys=storage.keys,
        reader=lambda content: frames_from_file(content, isolate=False),
        deidentifier=shipped_deidentifier(storage.keys),
    ).run(rows, source_kind="table", collection="collection A")


def everything_kept(storage: Storage) -> bytes:
    """Every cell of every table, and the cases as they are when decrypted."""
    parts: list[str] = []
    with storage.engine.connect() as connection:
        for table in Table.metadata.sorted_tables:
            parts.extend(repr(tuple(row)) for row in connection.execute(table.select()))
    for case in storage.catalogue.iter_cases():
        parts.append(json.dumps(asdict(case), default=str, ensure_ascii=False))
        parts.extend(repr(storage.blobs.get(p.blob_key)) for p in case.pictures)
    return "\n".join(parts).encode()


def test_planted_identity_survives_in_no_row_fact_picture_summary_or_log(
    storage: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    film = a_seeded_film(tmp_path)
    assert all(trace in film.read_bytes() for trace in (b"ZZSEED", b"19470811"))
    with caplog.at_level(logging.DEBUG):
        summary = imported(storage, film)
    assert (summary.n_cases, summary.n_quarantined) == (1, 0)
    kept = everything_kept(storage) + json.dumps(summary.to_json()).encode() + caplog.text.encode()
    assert not [trace for trace in TRACES if trace in kept]


def test_facts_of_a_case_come_from_closed_lists(storage: Storage, tmp_path: Path) -> None:
    imported(storage, a_seeded_film(tmp_path, BodyPartExamined="CHEST", ViewPosition="PA"))
    (case,) = storage.catalogue.iter_cases()
    assert (case.modality, case.body_part, case.view_group.value) == ("DX", "CHEST", "PA")
    assert case.report_text is not None
    assert "pleural effusion" in case.report_text


def test_run_keeps_what_was_done_and_the_summary_says_it(storage: Storage, tmp_path: Path) -> None:
    summary = imported(storage, a_seeded_film(tmp_path))
    done = summary.deidentification
    assert done["counts"]["DICOM headers"] == 1
    assert done["counts"]["texts scrubbed"] == 1
    assert done["counts"]["words removed from texts"] >= 1
    for action in ("removed", "emptied", "replaced", "UID remapped", "date shifted"):
        assert done["attributes"][action] > 0, action
    assert done["attributes"]["private attribute removed"] > 0
    with storage.engine.connect() as connection:
        counts = json.loads(str(connection.scalar(text("SELECT counts FROM import_run"))))
    assert counts["deidentification: DICOM headers"] == 1
    assert counts["deidentification: emptied (0010)"] >= 3


def test_film_with_a_name_on_it_is_set_apart_with_the_reason_and_no_picture(
    storage: Storage, tmp_path: Path
) -> None:
    written_on = with_writing(a_smooth_picture(300, 260), "MUELLER ANNA", at=(30, 40))
    path = tmp_path / "film.dcm"
    path.write_bytes(dicom_bytes(a_dataset(written_on)))
    summary = imported(storage, path)
    assert summary.quarantined == {TEXT_ON_PIXELS: 1}
    assert summary.deidentification["counts"]["pictures quarantined for writing"] == 1
    blobs = tmp_path / "state" / "blobs"
    assert not [p for p in blobs.rglob("*") if p.is_file()]


def test_dates_shown_of_one_patient_keep_their_interval_whatever_the_file(
    storage: Storage,
) -> None:
    pseudonyms = shipped_deidentifier(storage.keys).pseudonyms
    first, second = (
        pseudonyms.shifted(day, "patient").toordinal()
        for day in (
            datetime(2024, 2, 1, tzinfo=UTC).date(),
            datetime(2024, 3, 1, tzinfo=UTC).date(),
        )
    )
    assert second - first == 29
