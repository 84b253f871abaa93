"""Which pictures are copies of one film."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Two pictures whose thumbnails correlate more than this are one film, resized or re-windowed.
# Chosen on the shared pictures: see docs/encoder.md.
DUPLICATE_CORRELATION = 0.98
THUMBNAIL_SIDE_PX = 32
_BLOCK_ROWS = 1024  # bounds the memory of the comparison of all with all


def near_duplicate_pairs(
    squares: NDArray[np.uint8], *, threshold: float = DUPLICATE_CORRELATION
) -> list[tuple[int, int]]:
    """Find pictures that are copies of each other, whatever their size or window.

    Parameters
    ----------
    squares
        Shape ``(n, rows, columns)``, uint8, preprocessed; sides divisible by 32.
    threshold
        Smallest correlation of two thumbnails.

    Returns
    -------
    list of tuple
        Pairs of indices, the smaller one first.

    """
    n, rows, columns = squares.shape
    side = THUMBNAIL_SIDE_PX
    cells = squares.reshape(n, side, rows // side, side, columns // side)
    thumbnails = cells.mean(axis=(2, 4), dtype=np.float32).reshape(n, -1)
    return alike_pairs(thumbnails, threshold=threshold)


def alike_pairs(thumbnails: NDArray[np.float32], *, threshold: float) -> list[tuple[int, int]]:
    """Find thumbnails that correlate.

    Parameters
    ----------
    thumbnails
        Shape ``(n, m)``, float32, grey values of any scale.
    threshold
        Smallest correlation.

    Returns
    -------
    list of tuple
        Pairs of indices, the smaller one first.

    """
    centred = thumbnails - thumbnails.mean(axis=1, keepdims=True)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(centred), _BLOCK_ROWS):
        alike = centred[start : start + _BLOCK_ROWS] @ centred[start:].T >= threshold
        first, second = np.nonzero(np.triu(alike, k=1))
        pairs.extend(zip((first + start).tolist(), (second + start).tolist(), strict=True))
    return pairs
