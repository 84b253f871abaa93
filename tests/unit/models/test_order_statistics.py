"""Percentiles without ordering everything: to the last bit those of numpy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.borders import BorderRule, content_bounds
from models.order_statistics import outer_percentiles

N = 40_003


def values_of(kind: str) -> NDArray[np.float32]:
    rng = np.random.default_rng(5)
    made = {
        "continuous": rng.random(N),
        "8 bits": rng.integers(0, 256, N) / 255,
        "mostly black": np.where(rng.random(N) < 0.7, 0.0, rng.random(N)),
        "constant": np.full(N, 0.25),
        "rising": np.linspace(-1.0, 1.0, N),
        "extremes that the sample misses": np.where(np.arange(N) % 9 == 4, -5.0, 1.0),
        "small": rng.random(100),
    }
    return made[kind].astype(np.float32)


@pytest.mark.parametrize(
    "kind",
    [
        *("continuous", "8 bits", "mostly black", "constant", "rising"),
        *("extremes that the sample misses", "small"),
    ],
)
@pytest.mark.parametrize(
    ("low", "high"), [(0.5, 99.5), (0.0, 100.0), (2.0, 98.0), (49.0, 51.0)], ids=str
)
def test_percentiles_equal_those_of_numpy(kind: str, low: float, high: float) -> None:
    values = values_of(kind)
    assert outer_percentiles(values, low, high) == tuple(np.percentile(values, (low, high)))


def test_percentiles_do_not_change_what_they_are_given() -> None:
    values = values_of("continuous")
    before = values.copy()
    outer_percentiles(values, 0.5, 99.5)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize(("top", "bottom"), [(0, 0), (1, 0), (3, 5), (9, 17), (40, 2)])
def test_borders_of_any_width_are_found_to_the_line(top: int, bottom: int) -> None:
    picture = np.random.default_rng(top).random((120, 50), dtype=np.float32)
    picture[:top], picture[120 - bottom :] = 0.0, 0.5
    rows, columns = content_bounds(picture, BorderRule(max_fraction=0.3))
    assert (rows, columns) == (slice(min(top, 36), 120 - bottom), slice(0, 50))


def test_borders_of_a_picture_without_content_are_none() -> None:
    flat = np.full((40, 30), 0.5, dtype=np.float32)
    assert content_bounds(flat, BorderRule()) == (slice(0, 40), slice(0, 30))
