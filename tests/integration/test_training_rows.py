"""Rows for training from an installed library: patient keys and findings, decoded pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cds.adapters.storage import open_storage
from cds.cli.main import main
from cds.cli.training_rows import rows_of_folder, rows_of_library, rows_of_permissive_collections
from cds.domain.errors import CdsError
from cds.settings import settings_from_environment
from tests.unit.models.radiographs import a_radiograph

N_PICTURES = 6


def a_folder(folder: Path) -> Path:
    for number in range(N_PICTURES):
        path = (
            folder / ("Pneumothorax" if number % 2 else "Normal") / f"p{number // 2}_{number}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = (a_radiograph(number) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(tmp_path / "state"))
    folder = a_folder(tmp_path / "ours")
    words = ["--format", "labelled-folder", "--collection", "ours", "--licence", "internal"]
    words += ["--patient-pattern", r"p(\d+)_", "--writing-reviewed", "--no-index"]
    assert main(["init"]) == 0
    assert main(["library", "import", str(folder), *words]) == 0
    return folder


def test_library_when_read_keeps_patients_together_and_findings_as_labels(library: Path) -> None:
    data = rows_of_library(open_storage(settings_from_environment()), [])

    assert len(data.rows) == N_PICTURES
    assert len({row.patient for row in data.rows}) == N_PICTURES // 2
    assert {row.source for row in data.rows} == {"ours"}
    assert {row.licence for row in data.rows} == {"internal"}
    assert sum("Pneumothorax" in row.labels for row in data.rows) == N_PICTURES // 2
    pixels = data.read(data.rows[0])
    originals = [a_radiograph(number) for number in range(N_PICTURES)]
    assert min(float(np.abs(pixels - one).max()) for one in originals) < 1 / 255
    assert not any(row.name.startswith("ours/p") for row in data.rows)


def test_library_when_a_collection_is_absent_is_refused(library: Path) -> None:
    with pytest.raises(CdsError, match="no pictures to train on"):
        rows_of_library(open_storage(settings_from_environment()), ["others"])


def test_folder_when_read_decodes_as_the_product_does(tmp_path: Path) -> None:
    data = rows_of_folder(
        a_folder(tmp_path / "ours"),
        licence="internal",
        patient_pattern=r"p(\d+)_",
        one_patient_per_picture=False,
        keep_split=False,
    )

    pixels = data.read(data.rows[0])

    assert data.rows[0].name == "ours/Normal/p0_0.png"
    assert np.allclose(pixels, a_radiograph(0), atol=1 / 255)


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_folder_without_pictures_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(CdsError):
        rows_of_folder(
            tmp_path / name,
            licence="",
            patient_pattern=None,
            one_patient_per_picture=True,
            keep_split=False,
        )
    with pytest.raises(CdsError, match="permissive"):
        rows_of_permissive_collections(tmp_path / name)
