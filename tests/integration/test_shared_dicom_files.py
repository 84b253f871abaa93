"""Every DICOM file of the shared research data decodes, or is refused with a reason."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cds.adapters.dicom_files import frames_from_dicom
from cds.domain.errors import CdsError, Reason

FOLDER = Path(os.environ.get("PRECEDENT_SHARED", "../shared")) / "data" / "dicom"
MIN_DECODED_SHARE = 0.95


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    if not (FOLDER / "metadata.csv").exists():
        pytest.skip("The shared DICOM files are not here (PRECEDENT_SHARED).")
    with (FOLDER / "metadata.csv").open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def test_every_shared_file_decodes_or_is_refused_with_a_reason(rows: list[dict[str, str]]) -> None:
    outcomes: Counter[str] = Counter()
    for row in rows:
        content = (FOLDER / row["file"]).read_bytes()
        try:
            (frame,) = frames_from_dicom(content)
        except CdsError as error:
            outcomes[error.reason.value] += 1
        else:
            outcomes["decoded"] += 1
            assert frame.pixels.shape == (int(row["rows"]), int(row["columns"])), row["file"]
            assert np.ptp(frame.pixels) > 0 or row["modality"] != "DX", row["file"]
    assert set(outcomes) <= {
        "decoded",
        Reason.IMAGE_UNREADABLE.value,
        Reason.IMAGE_UNSUPPORTED.value,
    }
    refused = outcomes[Reason.IMAGE_UNREADABLE.value]
    assert outcomes["decoded"] / (outcomes["decoded"] + refused) >= MIN_DECODED_SHARE
