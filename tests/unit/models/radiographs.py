"""Generated pictures that look enough like a chest to be preprocessed; no data of anyone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cds.domain.pixels import PixelFrame


def a_radiograph(
    seed: int = 0, *, rows: int = 180, columns: int = 150, border_px: int = 0, border: float = 0.0
) -> NDArray[np.float32]:
    """Two dark lungs in a bright body with noise, float32 in [0, 1], in an optional frame."""
    generator = np.random.default_rng(seed)
    down, across = np.mgrid[-1.0 : 1.0 : rows * 1j, -1.0 : 1.0 : columns * 1j]
    width = generator.uniform(0.2, 0.35)
    lungs = sum(
        np.exp(-(((across - side) / width) ** 2) - (down / 0.6) ** 2) for side in (-0.45, 0.45)
    )
    pixels = 0.8 - 0.5 * lungs + 0.1 * down + generator.normal(scale=0.03, size=(rows, columns))
    framed = np.full((rows + 2 * border_px, columns + 2 * border_px), border, dtype=np.float32)
    inner = slice(border_px, border_px + rows), slice(border_px, border_px + columns)
    framed[inner] = np.clip(pixels, 0.0, 1.0)
    return framed


def a_frame(seed: int = 0) -> PixelFrame:
    """One frame of a generated radiograph."""
    return PixelFrame(a_radiograph(seed), content_sha256="0" * 64)
