"""Which pictures belong together: of one patient, or copies of one film."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
    thumbnails -= thumbnails.mean(axis=1, keepdims=True)
    thumbnails /= np.maximum(np.linalg.norm(thumbnails, axis=1, keepdims=True), 1e-6)
    pairs: list[tuple[int, int]] = []
    for start in range(0, n, _BLOCK_ROWS):
        alike = thumbnails[start : start + _BLOCK_ROWS] @ thumbnails[start:].T >= threshold
        first, second = np.nonzero(np.triu(alike, k=1))
        pairs.extend(zip((first + start).tolist(), (second + start).tolist(), strict=True))
    return pairs


def joined_groups(
    keys: Sequence[Iterable[str]], pairs: Iterable[tuple[int, int]]
) -> NDArray[np.intp]:
    """Join what shares a key or is named as a pair, also through others.

    Parameters
    ----------
    keys
        One entry per picture: what it must stay together by, such as its patient.
    pairs
        Pairs of indices, as `near_duplicate_pairs` finds them.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``; the group of each picture is the index of its first member.

    Examples
    --------
    >>> joined_groups([["anna"], ["ben"], ["anna"], ["eve"]], [(1, 3)]).tolist()
    [0, 1, 0, 1]

    """
    parent = list(range(len(keys)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    def join(first: int, second: int) -> None:
        low, high = sorted((root(first), root(second)))
        parent[high] = low

    seen: dict[str, int] = {}
    for index, own in enumerate(keys):
        for key in own:
            join(index, seen.setdefault(key, index))
    for first, second in pairs:
        join(first, second)
    return np.array([root(index) for index in range(len(keys))], dtype=np.intp)
