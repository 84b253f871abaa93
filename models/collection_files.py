"""Reads a collection as it lies in a folder: its table, and pictures that can be trusted."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TABLE_FILE = "metadata.csv"
UINT8_MAX = 255.0


def table_rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a collection's ``metadata.csv``; OSError if there is none."""
    with (folder / TABLE_FILE).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def grey_pixels(path: Path) -> NDArray[np.float32]:
    """Read a picture file of any form that Pillow knows, 8 bits deep.

    Parameters
    ----------
    path
        A file that is trusted to be a picture; else decode it as the product does.

    Returns
    -------
    numpy.ndarray
        Shape ``(rows, columns)``, float32 in [0, 1].

    """
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), dtype=np.float32) / np.float32(UINT8_MAX)
