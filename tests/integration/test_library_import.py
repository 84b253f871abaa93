"""The import over real SQLite and PostgreSQL, real files and the real decoders."""

from __future__ import annotations

import csv
import errno
import json
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cds.adapters.atomic_files import write_whole
from cds.adapters.dicom_files import frames_from_file, frames_from_picture
from cds.adapters.storage import Storage, initialise, open_storage
from cds.cli.main import EXIT_REFUSED, main
from cds.domain.embedding import ImageEmbedding
from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from cds.engine.deidentification import shipped_deidentifier
from cds.library.embedding_run import embed_missing
from cds.library.import_run import LibraryImport
from cds.library.import_summary import ImportSummary
from cds.library.library_stats import library_stats
from cds.library.source_files import UNREADABLE_FILE
from cds.library.sources import SourceRequest, open_source
from cds.settings import Settings
from tests.builders.dicom import a_dataset, dicom_bytes
from tests.builders.library import (
    SEEDED_NOTE,
    SEEDED_PATIENT,
    NativeFolder,
    a_native_row,
    flat_png,
    jpeg_bytes,
    png_bytes,
)


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(state_dir=tmp_path / "state", database_url=database_url)


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    initialise(settings)
    opened = open_storage(settings)
    yield opened
    opened.engine.dispose()


def in_process(content: bytes) -> tuple[PixelFrame, ...]:
    return frames_from_file(content, isolate=False)


def import_from(
    storage: Storage, request: SourceRequest, limit: int | None = None
) -> ImportSummary:
    source = open_source(request)
    return LibraryImport(
        catalogue=storage.catalogue,
        blobs=storage.blobs,
        keys=storage.keys,
        reader=in_process,
        deidentifier=shipped_deidentifier(storage.keys),
    ).run(source.rows, source_kind=source.layout, collection=source.collection, limit=limit)


def native(tmp_path: Path, n: int, pictures: dict[str, bytes] | None = None) -> SourceRequest:
    rows = [a_native_row(patientid=str(i // 2), filename=f"{i}.png") for i in range(n)]
    held = pictures or {f"{i}.png": png_bytes(i) for i in range(n)}
    return SourceRequest(folder=NativeFolder(tmp_path / "set").write(rows, held))


def blobs_in(settings: Settings) -> int:
    return sum(1 for p in (settings.state_dir / "blobs").rglob("*") if p.is_file())


def a_bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 60000 x 60000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(600))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_import_when_run_twice_adds_nothing_the_second_time(
    storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    request = native(tmp_path, 6)
    first = import_from(storage, request)
    n_blobs = blobs_in(settings)
    cases = list(storage.catalogue.iter_cases())
    second = import_from(storage, request)
    assert (first.n_cases, first.n_patients, first.n_pictures) == (6, 3, 6)
    assert (second.n_cases, second.n_pictures, second.n_already) == (0, 0, 6)
    assert list(storage.catalogue.iter_cases()) == cases
    assert blobs_in(settings) == n_blobs == 6


def test_import_when_interrupted_goes_on_where_it_stopped(storage: Storage, tmp_path: Path) -> None:
    request = native(tmp_path, 6)

    class PowerCutError(Exception):
        pass

    class CutAfterTwo:
        def advance(self, *, n_done: int, n_cases: int, n_quarantined: int) -> None:
            if n_done == 2:
                raise PowerCutError

    source = open_source(request)
    interrupted = LibraryImport(
        catalogue=storage.catalogue,
        blobs=storage.blobs,
        keys=storage.keys,
        reader=in_process,
        deidentifier=shipped_deidentifier(storage.keys),
    )
    with pytest.raises(PowerCutError):
        interrupted.run(source.rows, source_kind=source.layout, progress=CutAfterTwo())
    assert storage.catalogue.n_cases() == 2
    summary = import_from(storage, request)
    assert (summary.n_cases, summary.n_already) == (4, 2)
    assert storage.catalogue.n_cases() == 6


def test_imports_when_two_run_at_once_do_not_double(
    storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    request = native(tmp_path, 12)
    summaries: list[ImportSummary] = []
    start = threading.Barrier(2)

    def work() -> None:
        own = open_storage(settings)
        start.wait()
        summaries.append(import_from(own, request))
        own.engine.dispose()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(summaries) == 2
    assert sum(s.n_cases for s in summaries) == 12
    assert storage.catalogue.n_cases() == storage.catalogue.n_pictures() == 12


def test_import_when_limited_reads_so_many_rows(storage: Storage, tmp_path: Path) -> None:
    assert import_from(storage, native(tmp_path, 6), limit=2).n_rows == 2
    assert storage.catalogue.n_cases() == 2


def test_pictures_when_bad_are_quarantined_and_good_ones_kept(
    storage: Storage, tmp_path: Path
) -> None:
    whole = jpeg_bytes(1, 200, 200)
    bad = {
        "0.png": b"",
        "1.png": b"this is text, whatever its name says",
        "2.png": whole[: len(whole) // 2],
        "3.png": a_bomb(),
        "4.png": png_bytes(2)[:60],
        "5.png": flat_png(),
    }
    request = native(tmp_path, 8, {**bad, "6.png": png_bytes(3)})
    summary = import_from(storage, request)
    again = import_from(storage, request)
    assert (summary.n_cases, summary.n_quarantined) == (1, 7)  # the eighth has no file
    assert storage.catalogue.rejections() == summary.quarantined
    assert again.quarantined == summary.quarantined
    assert sum(storage.catalogue.rejections().values()) == 7
    reasons = dict(storage.catalogue.rejected_files())
    assert "empty" in reasons["0.png"]
    assert "pixels" in reasons["3.png"]
    assert "flat" in reasons["5.png"]
    assert "not found" in reasons["7.png"]
    assert set(reasons) == {f"{i}.png" for i in (0, 1, 2, 3, 4, 5, 7)}
    assert reasons["2.png"] == reasons["4.png"]


@pytest.mark.parametrize("licence", ["L" * 201, "CC0\x00"], ids=["too long", "nul"])
def test_row_when_a_text_does_not_fit_is_rejected_and_the_others_come_in(
    storage: Storage, tmp_path: Path, licence: str
) -> None:
    rows = [
        a_native_row(patientid="1", filename="1.png", license=licence),
        a_native_row(patientid="2", filename="2.png"),
    ]
    pictures = {"1.png": png_bytes(1), "2.png": png_bytes(2)}
    folder = NativeFolder(tmp_path / "set").write(rows, pictures)
    summary = import_from(storage, SourceRequest(folder=folder))
    assert (summary.n_cases, summary.n_quarantined) == (1, 1)
    (reason,) = storage.catalogue.rejections()
    assert reason.startswith("licence ")


def test_store_when_its_disk_is_full_ends_the_import_in_words_and_a_rerun_goes_on(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills with the third picture: two cases are in, and nothing is half there."""
    room = [2]

    def write(path: Path, content: bytes) -> None:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        room[0] -= 1
        write_whole(path, content)

    monkeypatch.setattr("cds.adapters.blobs.write_whole", write)
    request = native(tmp_path, 5)
    with pytest.raises(CdsError, match="disk of the picture store is full") as refused:
        import_from(storage, request)
    assert refused.value.reason is Reason.STORAGE_UNAVAILABLE
    assert (storage.catalogue.n_cases(), storage.catalogue.rejections()) == (2, {})
    room[0] = 100
    assert import_from(storage, request).n_cases == 3
    assert storage.catalogue.n_cases() == 5


def test_picture_when_the_same_bytes_come_again_is_not_doubled(
    storage: Storage, tmp_path: Path
) -> None:
    request = native(tmp_path, 2, {"0.png": png_bytes(1), "1.png": png_bytes(1)})
    summary = import_from(storage, request)
    assert (summary.n_cases, summary.n_duplicates) == (1, 1)


@pytest.mark.parametrize("device", [None, "/dev/zero"], ids=["pipe", "device"])
def test_picture_when_it_is_no_regular_file_is_set_apart(
    storage: Storage, tmp_path: Path, device: str | None
) -> None:
    """A pipe would never answer, and a device has no end."""
    request = native(tmp_path, 2)
    (picture,) = tmp_path.rglob("0.png")
    picture.unlink()
    if device is None:
        os.mkfifo(picture)
    else:
        picture.symlink_to(device)
    summary = import_from(storage, request)
    assert (summary.n_cases, summary.quarantined) == (1, {UNREADABLE_FILE: 1})


def test_picture_when_16_bit_is_kept_as_8_bit_grey(storage: Storage, tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 32 * 24).astype(np.uint16).reshape(32, 24)
    stream = BytesIO()
    Image.fromarray(values).save(stream, format="PNG")
    import_from(storage, native(tmp_path, 1, {"0.png": stream.getvalue()}))
    (case,) = storage.catalogue.iter_cases()
    with Image.open(BytesIO(storage.blobs.get(case.pictures[0].blob_key))) as kept:
        assert kept.mode == "L"
        assert np.array_equal(np.asarray(kept), np.round(values / 257.0).astype(np.uint8))


def test_files_when_imported_hold_no_readable_identity_or_note(
    storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    rows = [a_native_row(clinical_notes=SEEDED_NOTE, filename=f"{SEEDED_PATIENT}.png")]
    rows.append(a_native_row(filename=f"{SEEDED_PATIENT}-missing.png"))
    picture = {f"{SEEDED_PATIENT}.png": png_bytes()}
    summary = import_from(
        storage, SourceRequest(folder=NativeFolder(tmp_path / "set").write(rows, picture))
    )
    assert (summary.n_cases, summary.n_quarantined) == (1, 1)
    (case,) = storage.catalogue.iter_cases()
    assert storage.catalogue.notes_of(case.case_id)["clinical_notes"] == SEEDED_NOTE
    assert case.report_text is None
    storage.engine.dispose()
    at_rest = b"".join(p.read_bytes() for p in settings.state_dir.rglob("*") if p.is_file())
    for seeded in (SEEDED_PATIENT, SEEDED_NOTE, "January 6"):
        assert seeded.encode() not in at_rest
        assert seeded not in json.dumps(summary.to_json())


def own_table(tmp_path: Path, rows: list[dict[str, str]], map_text: str) -> SourceRequest:
    with (tmp_path / "cases.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "map.toml").write_text(map_text, "utf-8")
    return SourceRequest(table=tmp_path / "cases.csv", columns=tmp_path / "map.toml")


DICOM_MAP = """
[columns]
case_key = "case"
file = "file"
[defaults]
is_reference = true
collection = "PACS export"
"""


def test_table_when_pictures_are_dicom_takes_identity_from_them(
    storage: Storage, tmp_path: Path
) -> None:
    dataset = a_dataset()
    (tmp_path / "1.dcm").write_bytes(dicom_bytes(dataset))
    (tmp_path / "2.dcm").write_bytes(b"%PDF-1.7 not a picture")
    rows = [{"case": "1", "file": "1.dcm"}, {"case": "2", "file": "2.dcm"}]
    summary = import_from(storage, own_table(tmp_path, rows, DICOM_MAP))
    assert (summary.n_cases, summary.n_quarantined) == (1, 1)
    (case,) = storage.catalogue.iter_cases()
    assert case.study_key == storage.keys.study_key(dataset.StudyInstanceUID)
    issuer = dataset.get("IssuerOfPatientID") or "PACS export"
    assert case.patient_key == storage.keys.patient_key(issuer, dataset.PatientID)
    assert case.modality == dataset.Modality


def test_table_when_nobody_says_whose_it_is_rejects_the_row(
    storage: Storage, tmp_path: Path
) -> None:
    (tmp_path / "1.png").write_bytes(png_bytes())
    summary = import_from(storage, own_table(tmp_path, [{"case": "1", "file": "1.png"}], DICOM_MAP))
    assert summary.n_cases == 0
    assert list(summary.quarantined) == ["the row names no patient"]


def test_table_when_namespace_is_given_keys_patients_as_the_ehr_does(
    storage: Storage, tmp_path: Path
) -> None:
    (tmp_path / "1.png").write_bytes(png_bytes())
    mapped = DICOM_MAP.replace("[defaults]", 'patient_key = "mrn"\n[defaults]')
    request = own_table(tmp_path, [{"case": "1", "file": "1.png", "mrn": "P100"}], mapped)
    named = SourceRequest(
        table=request.table, columns=request.columns, patient_namespace="urn:oid:1.2.3"
    )
    import_from(storage, named)
    (case,) = storage.catalogue.iter_cases()
    assert case.patient_key == storage.keys.patient_key("urn:oid:1.2.3", "P100")


def test_case_when_a_later_run_brings_a_further_picture_gets_it(
    storage: Storage, tmp_path: Path
) -> None:
    mapped = DICOM_MAP.replace("[defaults]", 'patient_key = "mrn"\n[defaults]')
    (tmp_path / "1.png").write_bytes(png_bytes(1))
    (tmp_path / "2.png").write_bytes(png_bytes(2))
    first = {"case": "1", "file": "1.png", "mrn": "P"}
    import_from(storage, own_table(tmp_path, [first], mapped))
    import_from(storage, own_table(tmp_path, [first, {**first, "file": "2.png"}], mapped))
    (case,) = storage.catalogue.iter_cases()
    assert len(case.pictures) == 2


class SumEmbedder:
    """Embeds a frame by its mean and contrast; refuses frames that are too dark."""

    encoder_name = "sums"
    encoder_hash = "e" * 64
    dimension = 2

    def embed(self, frames: list[PixelFrame]) -> list[ImageEmbedding]:
        if any(frame.pixels.mean() < 0.1 for frame in frames):
            raise CdsError(Reason.IMAGE_UNREADABLE, "The picture is blank.")
        vectors = (np.array([f.pixels.mean(), f.pixels.std()], dtype=np.float32) for f in frames)
        return [ImageEmbedding(v / np.linalg.norm(v), self.encoder_hash) for v in vectors]


def test_pictures_when_embedded_are_embedded_once_and_bad_ones_left_out(
    storage: Storage, tmp_path: Path
) -> None:
    dark = BytesIO()
    Image.fromarray(np.eye(40, dtype=np.uint8) * 9).save(dark, format="PNG")
    held = {f"{i}.png": png_bytes(i) for i in range(5)}
    import_from(storage, native(tmp_path, 6, {**held, "5.png": dark.getvalue()}))
    told: list[tuple[int, int]] = []

    def embed() -> int:
        return embed_missing(
            SumEmbedder(),  # type: ignore[arg-type]  # its attributes are the port's properties
            embeddings=storage.embeddings,
            blobs=storage.blobs,
            progress=lambda done, total: told.append((done, total)),
        )

    assert embed() == 5
    assert told == [(6, 6)]
    assert embed() == 0
    assert len(storage.embeddings.embeddings(SumEmbedder.encoder_hash)) == 5


def test_folder_when_layout_is_unknown_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(CdsError, match="not recognised"):
        open_source(SourceRequest(folder=tmp_path))
    with pytest.raises(CdsError, match="Say what to import"):
        open_source(SourceRequest())
    with pytest.raises(CdsError, match="no such folder"):
        open_source(SourceRequest(folder=tmp_path / "none"))
    with pytest.raises(CdsError, match="both --table and --columns"):
        open_source(SourceRequest(table=tmp_path / "cases.csv"))


def test_commands_when_walked_initialise_import_and_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(tmp_path / "state"))
    folder = str(native(tmp_path, 4).folder)
    assert main(["library", "stats"]) == EXIT_REFUSED
    assert "precedent init" in capsys.readouterr().err
    assert main(["init"]) == 0
    capsys.readouterr()
    assert main(["library", "import", folder, "--no-index", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_cases"] == 4
    assert main(["library", "import", folder, "--no-index"]) == 0
    assert "Already in the library: 4 pictures." in capsys.readouterr().out
    assert main(["library", "stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_patients"] == 2
    assert main(["library", "stats"]) == 0
    assert "4 cases of 2 patients, 4 pictures." in capsys.readouterr().out


@pytest.mark.parametrize("database_url", [""], ids=["sqlite"])  # hundreds of pictures: once
def test_shared_collection_when_imported_has_the_tables_own_counts(
    storage: Storage, shared_dir: Path
) -> None:
    folder = shared_dir / "data" / "covid_chestxray"
    with (folder / "metadata_original.csv").open(encoding="utf-8-sig", newline="") as stream:
        table = [r for r in csv.DictReader(stream) if r["modality"] == "X-ray"]
    stems = {p.stem: p for p in (folder / "images").iterdir()}
    held = [r for r in table if Path(r["filename"]).stem in stems]
    contents: dict[bytes, dict[str, str]] = {}
    for row in held:
        contents.setdefault(stems[Path(row["filename"]).stem].read_bytes(), row)

    source = open_source(SourceRequest(folder=folder))
    summary = LibraryImport(
        catalogue=storage.catalogue,
        blobs=storage.blobs,
        keys=storage.keys,
        reader=lambda content: frames_from_picture(content, isolate=False),
        deidentifier=shipped_deidentifier(storage.keys, writing_reviewed=True),
    ).run(source.rows, source_kind=source.layout, collection=source.collection)
    kept = list(contents.values())
    assert summary.n_quarantined == len(table) - len(held)
    assert summary.n_duplicates == len(held) - len(kept)
    assert summary.n_cases == summary.n_pictures == len(kept)
    assert summary.n_patients == len({r["patientid"] for r in kept})

    stats = library_stats(storage.catalogue.iter_cases(), quarantined={})
    covid = {r["patientid"] for r in kept if r["finding"].split(",")[0] == "COVID-19"}
    assert stats.n_patients_by_diagnosis["COVID-19"] == len(covid)
    died_or_not = {r["patientid"] for r in kept if r["survival"] in {"Y", "N"}}
    assert stats.n_patients_by_outcome["death"] == len(died_or_not)
    warm = {r["patientid"] for r in kept if r["temperature"].replace(".", "").isdigit()}
    assert stats.n_patients_by_measurement["Body temperature"] == len(warm)
    cases = list(storage.catalogue.iter_cases())
    assert all(case.is_reference and case.report_text is None for case in cases)
    in_icu = sum(r["in_icu"] == "Y" for r in kept)
    assert sum("icu" in case.states_at_film for case in cases) == in_icu
    assert not any(
        "icu" in case.states_at_film and outcome.code == "icu-admission"
        for case in cases
        for outcome in case.outcomes
    )
