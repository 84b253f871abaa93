"""One thread: on small pictures more of them only wait for each other, and results never depend."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.training.rows import HANNOVER, NIH
from tests.unit.models.radiographs import a_radiograph

torch.set_num_threads(1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two sources of generated pictures; the label is a blob at the left or the right base."""
    for source, licence in (
        (NIH, "NIH Clinical Center: no usage restrictions, attribution requested (CC0-like)"),
        (HANNOVER, "CC BY 3.0"),
    ):
        folder = tmp_path / source
        (folder / "images").mkdir(parents=True)
        with (folder / "metadata.csv").open("w", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(["file", "patient_id", "labels", "image_licence"])
            for number in range(40):
                pixels = a_radiograph(
                    number + (1000 if source == NIH else 0), rows=110, columns=100
                )
                label = "Pneumonia" if source == NIH and number % 2 else "No Finding"
                if label == "Pneumonia":
                    pixels[60:90, 15:40] = 0.75
                name = f"images/{number}.png"
                Image.fromarray((pixels * 255).astype(np.uint8)).save(folder / name)
                writer.writerow([name, f"p{number // 2}", label, licence])
    return tmp_path
