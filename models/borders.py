"""Finds the uniform frame around a radiograph, so that no encoder can learn a collection by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

# Text or a marker may lie in a border: a line is uniform when this share of it is.
_LOW_QUANTILE = 0.02
_HIGH_QUANTILE = 0.98
_MAX_PASSES = 3
_FIRST_LINES = 4  # looked at together; most pictures have content in one of them


@dataclass(frozen=True, slots=True)
class BorderRule:
    """When a line at the picture's edge counts as border.

    Attributes
    ----------
    tolerance
        Largest spread of grey values, in [0, 1], inside a line that is still uniform.
    max_fraction
        Largest share of rows (and of columns) that may go at each side, in [0, 0.5).

    """

    tolerance: float = 0.02
    max_fraction: float = 0.3

    def __post_init__(self) -> None:
        if not 0.0 <= self.tolerance < 1.0:
            raise ValueError("tolerance lies in [0, 1)")
        if not 0.0 <= self.max_fraction < 0.5:
            raise ValueError("max_fraction lies in [0, 0.5)")


def content_bounds(pixels: Float32Array, rule: BorderRule) -> tuple[slice, slice]:
    """Locate the picture inside its uniform dark or bright borders.

    Parameters
    ----------
    pixels
        Shape ``(rows, columns)``, float32 in [0, 1], its contrast stretched: the tolerance is a
        share of what the picture shows, whatever its window.
    rule
        What counts as border.

    Returns
    -------
    tuple
        The rows and the columns to keep, 0-based slices; never empty.

    Examples
    --------
    >>> picture = np.zeros((10, 10), dtype=np.float32)
    >>> picture[2:9, 1:8] = np.linspace(0.2, 0.9, 49, dtype=np.float32).reshape(7, 7)
    >>> content_bounds(picture, BorderRule())
    (slice(2, 9, None), slice(1, 8, None))

    """
    rows, columns = pixels.shape
    top, bottom, left, right = 0, rows, 0, columns
    for _ in range(_MAX_PASSES):
        before = (top, bottom, left, right)
        inner = pixels[top:bottom, left:right]
        head, tail = _border_lengths(inner, rule)
        top, bottom = _bounded(top + head, bottom - tail, rows, rule)
        head, tail = _border_lengths(pixels[top:bottom, left:right].T, rule)
        left, right = _bounded(left + head, right - tail, columns, rule)
        if before == (top, bottom, left, right):
            break
    return slice(top, bottom), slice(left, right)


def _border_lengths(lines: Float32Array, rule: BorderRule) -> tuple[int, int]:
    """Count the uniform lines at the start and at the end."""
    head = _first_with_content(lines, rule)
    if head is None:
        return 0, 0
    return head, _first_with_content(lines[::-1], rule) or 0


def _first_with_content(lines: Float32Array, rule: BorderRule) -> int | None:
    """Return the first line that is not uniform, looking no further than it; None if all are."""
    start, n_together = 0, _FIRST_LINES
    while start < len(lines):
        some = lines[start : start + n_together]
        low, high = np.quantile(some, (_LOW_QUANTILE, _HIGH_QUANTILE), axis=1)
        content = np.flatnonzero(high - low > rule.tolerance)
        if content.size:
            return start + int(content[0])
        start, n_together = start + n_together, 2 * n_together
    return None


def _bounded(start: int, stop: int, length: int, rule: BorderRule) -> tuple[int, int]:
    """Limit what is cut at each side to the rule's share."""
    most = int(length * rule.max_fraction)
    return min(start, most), max(stop, length - most)
