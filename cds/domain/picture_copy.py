"""Whether one picture is a copy of another: rescaled, cropped, recompressed, relit.

Two steps. Hashes of the library's picture and of its inner parts propose candidates; a candidate is
a copy only if one picture, laid over the other at the best place and size, correlates with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cds.domain.perceptual_hash import perceptual_hash

Float32Array = NDArray[np.float32]

# Shares cut off each side of the library's picture before it is hashed again. A copy that lost up
# to 5 % at each side then comes within `CANDIDATE_BITS` of one; measured in docs/library.md.
CROPPED_SHARES = (0.02, 0.04, 0.06, 0.08)
CANDIDATE_BITS = 72  # of 256
N_CANDIDATES = 5
HASHED_SIDE_PX = 160  # the inner parts are hashed on blocks of pixels: 64 cells a side suffice
SIDE_PX = 96  # long side of what is laid over each other
SMALLEST_PART_PX = 16
RELATIVE_SIZES = np.arange(1.0, 0.795, -0.0125)  # width of the part, of the whole
COPY_CORRELATION = 0.965  # measured in docs/library.md: copies lie above, other films below
_FLAT = 1e-6
_WHITE = 255.0


@dataclass(frozen=True, slots=True, repr=False)
class GreyThumbnail:
    """A small picture as a value: 8-bit grey, row by row, long side at most 96.

    Raises
    ------
    ValueError
        If `content` does not hold exactly ``rows * columns`` bytes.

    """

    rows: int
    columns: int
    content: bytes

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1 or len(self.content) != self.rows * self.columns:
            raise ValueError("a thumbnail has rows times columns bytes")

    def pixels(self) -> Float32Array:
        """Return shape ``(rows, columns)``, float32, 0 to 1."""
        grey = np.frombuffer(self.content, dtype=np.uint8).reshape(self.rows, self.columns)
        return grey.astype(np.float32) / np.float32(_WHITE)

    def __repr__(self) -> str:
        return "GreyThumbnail(<redacted>)"


def thumbnail(pixels: Float32Array) -> GreyThumbnail:
    """Return the thumbnail of a picture of shape ``(rows, columns)``, values 0 to 1."""
    rows, columns = pixels.shape
    scale = min(1.0, SIDE_PX / max(rows, columns))
    small = _averaged(pixels, max(1, round(rows * scale)), max(1, round(columns * scale)))
    grey = np.round(np.clip(small, 0.0, 1.0) * _WHITE).astype(np.uint8)
    return GreyThumbnail(grey.shape[0], grey.shape[1], grey.tobytes())


def inner_hashes(pixels: Float32Array) -> tuple[int, ...]:
    """Return the perceptual hashes of the picture without its outermost 2, 4, 6 and 8 %."""
    pixels = _coarse(pixels)
    rows, columns = pixels.shape
    return tuple(
        perceptual_hash(
            pixels[
                round(rows * share) : rows - round(rows * share),
                round(columns * share) : columns - round(columns * share),
            ]
        )
        for share in CROPPED_SHARES
    )


def _coarse(pixels: Float32Array) -> Float32Array:
    """Return means of equal square blocks: at least 160 pixels a side, enough for the hash."""
    step = max(1, min(pixels.shape) // HASHED_SIDE_PX)
    rows, columns = pixels.shape[0] // step, pixels.shape[1] // step
    whole = pixels[: rows * step, : columns * step]
    if step == 1:
        return whole
    if step == 2:  # most pictures that are imported in bulk: the same sums, ten times as fast
        upper, lower = (whole[i::2, ::2] + whole[i::2, 1::2] for i in (0, 1))
        return np.asarray((upper + lower) / np.float32(4.0), dtype=np.float32)
    blocks = whole.reshape(rows, step, columns, step)
    coarse: Float32Array = blocks.mean(axis=(1, 3), dtype=np.float32)
    return coarse


def is_copy(one: GreyThumbnail, other: GreyThumbnail) -> bool:
    """Tell whether one picture is a rescaled or cropped copy of the other."""
    return registered_correlation(one.pixels(), other.pixels()) >= COPY_CORRELATION


def registered_correlation(one: Float32Array, other: Float32Array) -> float:
    """Return how well one picture fits into the other at the best place and size.

    Either may be the part: each is laid over the other, upright and unstretched, at widths of 80 to
    100 % of the whole and at every place, and the largest correlation coefficient of the covered
    pixels counts. Brightness and contrast do not matter; mirroring and rotation are not undone.

    Parameters
    ----------
    one, other
        Shape ``(rows, columns)``, float32; long side about 96.

    Returns
    -------
    float
        In [-1, 1]; -1 where no size fits or a picture is flat.

    References
    ----------
    J. P. Lewis, Fast Normalized Cross-Correlation, 1995.

    Examples
    --------
    >>> film = np.random.default_rng(0).random((96, 80), dtype=np.float32)
    >>> registered_correlation(film, film[4:92, 4:76]) > 0.9
    True
    >>> registered_correlation(film, film[:, ::-1]) < 0.5
    True

    """
    return max(_best_fit(one, other), _best_fit(other, one))


def _best_fit(whole: Float32Array, part: Float32Array) -> float:
    rows, columns = whole.shape
    centred: Float32Array = whole - whole.mean(dtype=np.float32)
    spectrum = np.fft.rfft2(centred)
    sums, squares = _integral(centred), _integral(centred**2)
    best = -1.0
    for h, w in _sizes(whole.shape, part.shape):
        averaged = _averaged(part, h, w)
        template = averaged - averaged.mean(dtype=np.float32)
        norm = float(np.sqrt((template**2).sum()))
        if norm < _FLAT:
            continue
        product = spectrum * np.conj(np.fft.rfft2(template, s=(rows, columns)))
        overlap = np.fft.irfft2(product, s=(rows, columns))[: rows - h + 1, : columns - w + 1]
        spread = _window(squares, h, w) - _window(sums, h, w) ** 2 / (h * w)
        covered = np.sqrt(np.maximum(spread, _FLAT))
        best = max(best, float((overlap / (covered * norm)).max()))
    return min(best, 1.0)


def _sizes(whole: tuple[int, ...], part: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield rows and columns of the part on the grid of the whole, unstretched."""
    for relative in RELATIVE_SIZES:
        columns = round(relative * whole[1])
        rows = round(columns * part[0] / part[1])
        if SMALLEST_PART_PX <= rows <= whole[0] and columns >= SMALLEST_PART_PX:
            yield rows, columns


def _averaged(pixels: Float32Array, rows: int, columns: int) -> Float32Array:
    """Return the picture averaged onto a grid of equal cells, each pixel by its overlap."""
    across = _averaging(pixels.shape[0], rows) @ pixels
    return np.asarray(across @ _averaging(pixels.shape[1], columns).T, dtype=np.float32)


def _averaging(n_source: int, n_cells: int) -> Float32Array:
    edges = np.linspace(0.0, n_source, n_cells + 1)
    pixel = np.arange(n_source, dtype=np.float64)
    overlap = np.minimum(edges[1:, None], pixel + 1.0) - np.maximum(edges[:-1, None], pixel)
    weights = np.clip(overlap, 0.0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _integral(values: Float32Array) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = values.astype(np.float64).cumsum(axis=0).cumsum(axis=1)
    return np.pad(sums, ((1, 0), (1, 0)))


def _window(integral: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """Return the sums over every window of this size."""
    sums: NDArray[np.float64] = (
        integral[rows:, columns:]
        - integral[:-rows, columns:]
        - integral[rows:, :-columns]
        + integral[:-rows, :-columns]
    )
    return sums
