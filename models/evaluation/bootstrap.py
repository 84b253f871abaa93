"""Intervals by resampling whole patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.intp]
FloatArray = NDArray[np.float64]

N_RESAMPLES = 1000
_INTERVAL_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure with its bootstrap interval by patient.

    Attributes
    ----------
    value
        The measure on all queries.
    low, high
        95 % percentile interval; descriptive.

    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def patient_resamples(
    patients: IntArray, seed: int, *, n_resamples: int = N_RESAMPLES
) -> list[IntArray]:
    """Draw whole patients with replacement.

    Parameters
    ----------
    patients
        Shape ``(q,)``, a number per patient.
    seed
        Equal seed, equal draws.
    n_resamples
        How often.

    Returns
    -------
    list of numpy.ndarray
        0-based indices into the queries; each draw has as many patients as there are.

    """
    generator = np.random.default_rng(seed)
    rows_of = [np.flatnonzero(patients == patient) for patient in np.unique(patients)]
    return [
        np.concatenate(
            [rows_of[drawn] for drawn in generator.integers(len(rows_of), size=len(rows_of))]
        )
        for _ in range(n_resamples)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """The same draws of patients for every measure, so that differences are paired.

    Attributes
    ----------
    n_queries
        How many queries there are.
    draws
        As `patient_resamples` gives them.

    """

    n_queries: int
    draws: tuple[IntArray, ...]

    @classmethod
    def of_patients(
        cls, patients: IntArray, *, seed: int, n_resamples: int = N_RESAMPLES
    ) -> Resamples:
        """Draw from the patients of the queries, shape ``(q,)``."""
        drawn = patient_resamples(patients, seed, n_resamples=n_resamples)
        return cls(len(patients), tuple(drawn))

    def weights(self) -> FloatArray:
        """Return how often each draw holds each query, shape ``(n_draws, n_queries)``."""
        counts = [np.bincount(draw, minlength=self.n_queries) for draw in self.draws]
        return np.array(counts, dtype=np.float64)

    def mean(self, values: FloatArray) -> Estimate:
        """Estimate the mean of one value per query, shape ``(q,)``."""
        return interval(float(values.mean()), np.array([values[d].mean() for d in self.draws]))

    def each(self, measure: Callable[[IntArray], FloatArray]) -> list[Estimate]:
        """Estimate several measures of the queries at once.

        Parameters
        ----------
        measure
            Takes 0-based indices of queries, repeated as drawn, and returns shape ``(m,)``; not a
            number where a draw does not allow the measure, which is then left out of the interval.

        Returns
        -------
        list of Estimate
            One per measure.

        """
        everything = measure(np.arange(self.n_queries))
        drawn = np.array([measure(draw) for draw in self.draws]).reshape(len(self.draws), -1)
        return [interval(float(v), drawn[:, i]) for i, v in enumerate(everything)]

    def spread(self, measure: Callable[[IntArray], float]) -> Estimate:
        """Estimate one measure of the queries; see `each`."""
        return self.each(lambda chosen: np.array([measure(chosen)]))[0]


def interval(value: float, drawn: FloatArray) -> Estimate:
    """Return the estimate of a value and of what the draws gave.

    Parameters
    ----------
    value
        On all queries.
    drawn
        Shape ``(n_resamples,)``; those that are not numbers are left out.

    Returns
    -------
    Estimate
        Not a number at both ends if no draw gave a number.

    """
    usable = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(usable) == 0:
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(usable, _INTERVAL_PERCENTILES)
    return Estimate(value, float(low), float(high))
