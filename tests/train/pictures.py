"""Folders of generated pictures that differ enough not to count as copies of each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.unit.models.radiographs import a_radiograph

BLOB, PLAIN = "Blob", "Plain"
SIDE_PX = 112
_COARSE = 7


def a_varied_radiograph(number: int, *, has_blob: bool) -> NDArray[np.float32]:
    """A thorax under a coarse random pattern; the finding is a bright blob at the left base."""
    generator = np.random.default_rng(1000 + number)
    pixels = a_radiograph(number, rows=SIDE_PX, columns=SIDE_PX)
    coarse = generator.uniform(-0.35, 0.35, size=(_COARSE, _COARSE)).astype(np.float32)
    image = Image.fromarray(coarse).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    pixels = np.clip(0.7 * pixels + np.asarray(image), 0.0, 0.8)
    if has_blob:
        pixels[70:100, 15:45] = 1.0
    varied: NDArray[np.float32] = pixels.astype(np.float32)
    return varied


def a_labelled_folder(folder: Path, *, n_patients: int = 40, per_patient: int = 2) -> Path:
    """Two classes; the file name begins with the patient, who has one picture of each class."""
    for number in range(n_patients * per_patient):
        label = BLOB if number % 2 else PLAIN
        pixels = a_varied_radiograph(number, has_blob=label == BLOB)
        save(pixels, folder / label / f"p{number // per_patient:02d}_{number}.png")
    return folder


def save(pixels: NDArray[np.float32], path: Path) -> None:
    """Write pixels in [0, 1] as an 8-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 255).astype(np.uint8)).save(path)
