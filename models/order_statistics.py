"""Percentiles of large arrays without ordering them; to the last bit those of numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

_SAMPLE = 4096  # values that the thresholds are guessed from
_SLACK = 2.0  # how many times as many values as needed are looked at
_SPARE = 16
_SMALL = 4 * _SAMPLE  # below, ordering is as fast


def outer_percentiles(values: Float32Array, low: float, high: float) -> tuple[float, float]:
    """Return two percentiles, one near each end, as ``numpy.percentile`` returns them.

    A sample says which values can lie beyond each percentile; only these are ordered.

    Parameters
    ----------
    values
        Any shape, float32, finite, not empty.
    low, high
        In [0, 100].

    Returns
    -------
    tuple of float
        Linearly interpolated (the 7th method of Hyndman and Fan), equal to numpy's bit for bit.

    Examples
    --------
    >>> values = np.linspace(0.0, 1.0, 100_001, dtype=np.float32)
    >>> outer_percentiles(values, 0.5, 99.5) == tuple(np.percentile(values, (0.5, 99.5)))
    True

    """
    flat = values.ravel()
    last = flat.size - 1
    rank_low, rank_high = (last * np.true_divide(each, 100) for each in (low, high))
    at_low, at_high = int(rank_low), int(rank_high)
    if flat.size < _SMALL or at_high >= last:
        return _by_numpy(flat, low, high)
    sample = np.sort(flat[:: flat.size // _SAMPLE])
    below = _smallest(flat, at_low + 1, sample)
    above = _smallest(-flat, last - at_high, -sample[::-1])
    if below is None or above is None:
        return _by_numpy(flat, low, high)
    before = np.array([below[at_low], -above[last - at_high]], dtype=np.float32)
    after = np.array([below[at_low + 1], -above[last - at_high - 1]], dtype=np.float32)
    return _between(before, after, np.array([rank_low - at_low, rank_high - at_high]))


def _smallest(flat: Float32Array, rank: int, sample: Float32Array) -> Float32Array | None:
    """Return the smallest values, those of `rank` and the rank before at their places.

    None if the sample, sorted, proposes too few of them.
    """
    place = int(_SLACK * rank * sample.size / flat.size) + _SPARE
    some: Float32Array = flat[flat <= sample[min(place, sample.size - 1)]]
    if some.size <= rank:
        return None
    some.partition((rank - 1, rank))
    return some


def _between(before: Float32Array, after: Float32Array, share: Float64Array) -> tuple[float, float]:
    """Interpolate as numpy does, from the nearer end."""
    apart = after - before
    found = np.where(share < 0.5, before + apart * share, after - apart * (1 - share))
    return found[0], found[1]


def _by_numpy(flat: Float32Array, low: float, high: float) -> tuple[float, float]:
    found = np.percentile(flat, (low, high))
    return found[0], found[1]
