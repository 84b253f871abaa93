"""Radiograph-like pictures without writing, and writing burned into them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont


def a_smooth_picture(rows: int = 512, columns: int = 448, seed: int = 0) -> NDArray[np.uint8]:
    """Slow waves with a little noise: nothing on it looks like writing."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    shade = (
        110 + 55 * np.cos(5 * x + seed) * np.sin(4 * y + 1) + rng.normal(0, 2.5, (rows, columns))
    )
    grey: NDArray[np.uint8] = np.clip(np.round(shade), 0, 255).astype(np.uint8)
    return grey


def with_writing(
    grey: NDArray[np.uint8],
    text: str,
    *,
    at: tuple[int, int],
    size_px: float = 20,
    level: int = 250,
) -> NDArray[np.uint8]:
    """The picture with a line of text; `at` is (x, y) of its upper left corner."""
    image = Image.fromarray(grey)
    font = ImageFont.load_default(size_px)
    ImageDraw.Draw(image).text(at, text, fill=level, font=font)
    return np.asarray(image)
