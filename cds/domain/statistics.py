"""Proportions with their intervals."""

from __future__ import annotations

from math import sqrt

from cds.domain.report import Direction, Interval

Z_95 = 1.959963984540054  # standard normal quantile at .975


def wilson_interval(n_with: int, n: int) -> Interval:
    """Return the Wilson 95 % interval of a proportion.

    Parameters
    ----------
    n_with, n
        Number with the property, and number counted; both are distinct patients.

    Returns
    -------
    Interval
        Both ends in [0, 1]; descriptive only, since neighbours are not a random sample.

    Raises
    ------
    ValueError
        If `n` is not positive or `n_with` is not in [0, n].

    References
    ----------
    Wilson 1927, doi:10.1080/01621459.1927.10502953.

    Examples
    --------
    >>> interval = wilson_interval(12, 31)
    >>> round(interval.low, 2), round(interval.high, 2)
    (0.24, 0.56)

    """
    if n <= 0 or not 0 <= n_with <= n:
        raise ValueError("n is positive and n_with lies in [0, n]")
    proportion = n_with / n
    denominator = 1.0 + Z_95**2 / n
    centre = (proportion + Z_95**2 / (2 * n)) / denominator
    half = Z_95 * sqrt(proportion * (1 - proportion) / n + Z_95**2 / (4 * n**2)) / denominator
    return Interval(low=max(0.0, centre - half), high=min(1.0, centre + half))


def direction_against(interval: Interval, base_rate: float) -> Direction:
    """Say whether the whole interval lies above or below `base_rate`.

    Examples
    --------
    >>> direction_against(Interval(0.24, 0.56), 0.22).value
    'more often'

    """
    if interval.low > base_rate:
        return Direction.MORE
    if interval.high < base_rate:
        return Direction.LESS
    return Direction.SIMILAR
