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


def test_page_says_of_each_file_what_happens(found: list[Verdict]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page, page_table(found)) == page, (
        "docs/dicom-files.md is stale: python -m deploy.dicom_table FOLDER"
    )


def test_only_damaged_files_and_what_is_no_picture_are_refused(
    rows: list[dict[str, str]], found: list[Verdict]
) -> None:
    no_picture = {
        row["file"]
        for row in rows
        if row["modality"] in NOT_PICTURES or row["has_pixels"] != "True" or not row["rows"]
    }
    refused = {verdict.file for verdict in found if not verdict.is_decoded}
    assert refused - no_picture <= DAMAGED


def test_picture_has_the_size_that_the_object_states(rows: list[dict[str, str]]) -> None:
    n_checked = 0
    for row in rows:
        try:
            frames = decoded_frames((FOLDER / row["file"]).read_bytes(), DEFAULT_LIMITS)
        except CdsError:
            continue
        size = (int(row["rows"]), int(row["columns"]))
        is_halved = reduction_level(*size) > 0 and row["transfer_syntax"].startswith("JPEG 2000")
        wanted = tuple(-(-n // 2) for n in size) if is_halved else size
        for frame in frames:
            assert frame.pixels.shape == wanted, row["file"]
        assert np.ptp(frames[0].pixels) > 0 or row["modality"] != "DX", row["file"]
        n_checked += 1
    assert n_checked > 150
