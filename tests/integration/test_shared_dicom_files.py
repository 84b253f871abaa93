"""Every DICOM file of the shared research data decodes, or is refused in words, as the docs say."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from cds.adapters.dicom_decoding import DEFAULT_LIMITS, NOT_PICTURES, decoded_frames
from cds.adapters.dicom_jpeg2000 import reduction_level
from cds.domain.errors import CdsError
from deploy.dicom_table import PAGE, Verdict, page_table, verdicts, with_table

FOLDER = Path(os.environ.get("PRECEDENT_SHARED", "../shared")) / "data" / "dicom"
STALE = "docs/dicom-files.md is stale: python -m deploy.dicom_table FOLDER"
DAMAGED = {  # what no decoder reads: see the column `problems` of the data
    "pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm",
    "pydicom/JPEG2000-embedded-sequence-delimiter.dcm",  # its header is made up
    "pydicom/MR_truncated.dcm",
    "pydicom/meta_missing_tsyntax.dcm",  # has no Rows
}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    if not (FOLDER / "metadata.csv").exists():
        pytest.skip("The shared DICOM files are not here (PRECEDENT_SHARED).")
    with (FOLDER / "metadata.csv").open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


@pytest.fixture(scope="module")
def found(rows: list[dict[str, str]]) -> list[Verdict]:
    assert rows
    return list(verdicts(FOLDER))


@pytest.fixture(scope="module")
def listed() -> dict[str, str]:
    """File -> its row in the page; other copies of the collections may hold other files."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return {
        line.split(" | ")[0].removeprefix("| "): line for line in lines if line.count(" | ") == 3
    }


def test_page_says_of_each_file_what_happens(found: list[Verdict], listed: dict[str, str]) -> None:
    here = {v.file: v.row() for v in found if v.file in listed}
    assert here
    assert here == {file: listed[file] for file in here}, STALE


def test_counts_of_the_page_are_those_of_its_rows(
    found: list[Verdict], listed: dict[str, str]
) -> None:
    if {v.file for v in found} != listed.keys() - {"File", "---"}:
        pytest.skip("Other files are here than the page lists.")
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page, page_table(found)) == page, STALE


def test_only_damaged_files_and_what_is_no_picture_are_refused(
    rows: list[dict[str, str]], found: list[Verdict], listed: dict[str, str]
) -> None:
    no_picture = {
        row["file"]
        for row in rows
        if row["modality"] in NOT_PICTURES or row["has_pixels"] != "True" or not row["rows"]
    }
    refused = {v.file for v in found if not v.is_decoded and v.file in listed}
    assert refused - no_picture <= DAMAGED


def test_picture_has_the_size_that_the_object_states(rows: list[dict[str, str]]) -> None:
    n_checked = 0
    for row in rows:
        try:
            frames = decoded_frames((FOLDER / row["file"]).read_bytes(), DEFAULT_LIMITS)
        except CdsError:
            continue
        size = (int(row["rows"]), int(row["columns"]))
        may_be_reduced = row["transfer_syntax"].startswith("JPEG 2000")
        step = 2 ** reduction_level(*size) if may_be_reduced else 1
        for frame in frames:
            assert frame.pixels.shape in {size, tuple(-(-n // step) for n in size)}, row["file"]
        assert np.ptp(frames[0].pixels) > 0 or row["modality"] != "DX", row["file"]
        n_checked += 1
    assert n_checked > 150
