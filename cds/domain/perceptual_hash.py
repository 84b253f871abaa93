"""A 256-bit hash of how a picture looks, to recognise near-duplicates."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

HASH_BITS = 256
_GRID = 64  # side of the thumbnail that is transformed
_LOW = 16  # lowest frequencies kept per axis: 16 x 16 = 256 bits
_ROUNDING_DECIMALS = 9  # so that arithmetic noise on a flat picture decides no bit

Float64Array = NDArray[np.float64]


def perceptual_hash(pixels: NDArray[np.float32]) -> int:
    """Return the DCT hash of a picture.

    The picture is averaged onto 64 x 64 equal cells (each source pixel counts by its overlap), the
    two-dimensional DCT-II is taken, and the 16 x 16 lowest frequencies give one bit each: whether
    the coefficient lies above their median. Scaling, recompression and small changes of brightness
    or contrast move few bits; mirroring moves about half of them.

    Parameters
    ----------
    pixels
        Shape ``(rows, columns)``, any finite range, row 0 at the top.

    Returns
    -------
    int
        0 to 2**256 - 1; the bit of frequency (0, 0) is the highest.

    Raises
    ------
    ValueError
        If `pixels` is not two-dimensional, or empty.

    References
    ----------
    C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, 3.2.1.

    Examples
    --------
    >>> noise = np.random.default_rng(0).random((64, 48), dtype=np.float32)
    >>> hamming_distance(perceptual_hash(noise), perceptual_hash(noise * np.float32(0.9)))
    0

    """
    if pixels.ndim != 2 or pixels.size == 0:
        raise ValueError("a picture has rows and columns")
    rows, columns = pixels.shape
    cells = _averaging(rows) @ pixels.astype(np.float64) @ _averaging(columns).T
    low = np.round(_cosines() @ cells @ _cosines().T, _ROUNDING_DECIMALS)
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hash_words(value: int) -> tuple[int, ...]:
    """Return a hash as four 64-bit words, the highest first, for columns of numbers."""
    return tuple((value >> shift) & (2**64 - 1) for shift in (192, 128, 64, 0))


def hamming_distance(one: int, other: int) -> int:
    """Return in how many bits two hashes differ.

    Examples
    --------
    >>> hamming_distance(0b1010, 0b0110)
    2

    """
    return (one ^ other).bit_count()


@lru_cache(maxsize=64)
def _averaging(n_source: int) -> Float64Array:
    """Return the matrix, shape ``(64, n_source)``, that averages a line onto 64 equal cells."""
    edges = np.linspace(0.0, n_source, _GRID + 1)
    pixel = np.arange(n_source, dtype=np.float64)
    upper = np.minimum(edges[1:, None], pixel + 1.0)
    lower = np.maximum(edges[:-1, None], pixel)
    overlap = np.clip(upper - lower, 0.0, None)
    return np.asarray(overlap / overlap.sum(axis=1, keepdims=True), dtype=np.float64)


@cache
def _cosines() -> Float64Array:
    """Return the first 16 rows of the DCT-II matrix, shape ``(16, 64)``."""
    frequency = np.arange(_LOW, dtype=np.float64)[:, None]
    position = np.arange(_GRID, dtype=np.float64)[None, :]
    return np.cos(np.pi * frequency * (position + 0.5) / _GRID)
