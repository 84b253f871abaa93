"""Whether a probability means what it says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cds.domain.report import Interval
from cds.domain.statistics import wilson_interval
from models.evaluation.bootstrap import Estimate, Resamples

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

N_BINS = 10
N_NULL_DRAWS = 1000
# A share of 15 votes is never closer to 0 or 1 than half a vote; needed for its logit.
LOGIT_MARGIN = 1.0 / 30.0
_MAX_STEPS = 30
_CONVERGED = 1e-9
_LARGEST_COEFFICIENT = 50.0  # beyond it the outcomes are separated and have no finite fit


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Queries whose probability lies in one tenth of [0, 1].

    Attributes
    ----------
    n
        How many.
    mean_probability, observed_share
        What was said and what was so.
    interval
        Wilson interval of the observed share; as if each query were another patient.

    """

    n: int
    mean_probability: float
    observed_share: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well the probability of one class is calibrated.

    Attributes
    ----------
    class_name
        The class, against the rest.
    slope
        Of the logistic regression of the outcome on the logit; 1 is ideal, below 1 too extreme.
    intercept
        Calibration in the large: the intercept with slope 1; 0 is ideal, below 0 says too much.
    brier, brier_base_rate
        Mean squared error, and that of always saying the library's share of the class.
    brier_skill
        ``1 - brier / brier_base_rate``: above 0 is better than the base rate.
    expected_calibration_error
        Over ten bins of equal width.
    null_error
        The mean of that error, with its 2.5th and 97.5th percentile, if every probability were
        exactly true.
    bins
        Those that are not empty.

    """

    class_name: str
    slope: Estimate
    intercept: Estimate
    brier: Estimate
    brier_base_rate: float
    brier_skill: Estimate
    expected_calibration_error: Estimate
    null_error: Estimate
    bins: tuple[ReliabilityBin, ...]

    @property
    def verdict(self) -> str:
        """Say in words whether the error is larger than chance explains."""
        error, null = self.expected_calibration_error.value, self.null_error
        if error > null.high:
            return (
                f"ECE {error:.3f} is more than chance explains: perfectly calibrated "
                f"probabilities would show {null.value:.3f} ({null.low:.3f} to {null.high:.3f})."
            )
        return (
            f"ECE {error:.3f} is no more than chance explains: perfectly calibrated "
            f"probabilities would show {null.value:.3f} ({null.low:.3f} to {null.high:.3f})."
        )


def calibration_of(
    class_name: str,
    outcomes: IntArray,
    probabilities: FloatArray,
    *,
    base_rate: float,
    resamples: Resamples,
    seed: int,
) -> Calibration:
    """Measure the calibration of one class against the rest.

    Parameters
    ----------
    class_name
        For the report.
    outcomes
        Shape ``(q,)``, 0 or 1.
    probabilities
        Shape ``(q,)``, in [0, 1].
    base_rate
        Share of the class in the library.
    resamples
        Draws of patients.
    seed
        Of the null of the ECE.

    Returns
    -------
    Calibration
        With intervals by patient.

    References
    ----------
    Van Calster et al. 2019, doi:10.1186/s12916-019-1466-7 (slope, calibration in the large);
    Brier 1950; Guo et al. 2017, arXiv:1706.04599 (ECE).

    """
    logits = _logit(probabilities)
    base_error = float(((base_rate - outcomes) ** 2).mean())

    def values(chosen: IntArray) -> FloatArray:
        y, p = outcomes[chosen], probabilities[chosen]
        brier = float(((p - y) ** 2).mean())
        base = float(((base_rate - y) ** 2).mean())
        skill = 1.0 - brier / base if base > 0.0 else np.nan
        slope = logistic_fit(y, logits[chosen])[1]
        offset = logistic_offset(y, logits[chosen])
        return np.array([slope, offset, brier, skill, expected_calibration_error(y, p)])

    slope, intercept, brier, skill, error = resamples.each(values)
    return Calibration(
        class_name=class_name,
        slope=slope,
        intercept=intercept,
        brier=brier,
        brier_base_rate=base_error,
        brier_skill=skill,
        expected_calibration_error=error,
        null_error=null_calibration_error(probabilities, seed=seed),
        bins=reliability_bins(outcomes, probabilities),
    )


def expected_calibration_error(outcomes: IntArray, probabilities: FloatArray) -> float:
    """Return the ECE: the mean gap between said and seen over ten bins, weighted by their size.

    Examples
    --------
    >>> expected_calibration_error(np.array([0, 1]), np.array([0.25, 0.25]))
    0.25

    """
    places = _bin_of(probabilities)
    gaps = np.bincount(places, weights=probabilities - outcomes, minlength=N_BINS)
    return float(np.abs(gaps).sum() / len(outcomes))


def null_calibration_error(
    probabilities: FloatArray, *, seed: int, n_draws: int = N_NULL_DRAWS
) -> Estimate:
    """Return the ECE that these probabilities would show if each were exactly true.

    Outcomes are drawn from the probabilities themselves. With few queries this is well above 0, so
    that an ECE means nothing without it.

    Parameters
    ----------
    probabilities
        Shape ``(q,)``.
    seed, n_draws
        Of the draws.

    Returns
    -------
    Estimate
        Mean, 2.5th and 97.5th percentile.

    """
    generator = np.random.default_rng(seed)
    drawn = np.array(
        [
            expected_calibration_error(
                (generator.random(len(probabilities)) < probabilities).astype(np.intp),
                probabilities,
            )
            for _ in range(n_draws)
        ]
    )
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimate(float(drawn.mean()), float(low), float(high))


def reliability_bins(outcomes: IntArray, probabilities: FloatArray) -> tuple[ReliabilityBin, ...]:
    """Return the bins of a reliability plot, in order, empty ones left out."""
    places = _bin_of(probabilities)
    bins = []
    for number in range(N_BINS):
        inside = places == number
        n, n_with = int(inside.sum()), int(outcomes[inside].sum())
        if n:
            bins.append(
                ReliabilityBin(
                    n, float(probabilities[inside].mean()), n_with / n, wilson_interval(n_with, n)
                )
            )
    return tuple(bins)


def logistic_fit(outcomes: IntArray, logits: FloatArray) -> tuple[float, float]:
    """Fit ``logit P(outcome) = intercept + slope * logits`` without a penalty.

    Parameters
    ----------
    outcomes
        Shape ``(q,)``, 0 or 1.
    logits
        Shape ``(q,)``.

    Returns
    -------
    tuple
        Intercept and slope; not numbers where there is no finite fit (one outcome only, all
        logits equal, or outcomes separated by the logits).

    """
    nothing = (float("nan"), float("nan"))
    if outcomes.min() == outcomes.max() or np.ptp(logits) < _CONVERGED:
        return nothing
    design = np.column_stack([np.ones_like(logits), logits])
    coefficients = np.zeros(2)
    for _ in range(_MAX_STEPS):
        fitted = 1.0 / (1.0 + np.exp(-design @ coefficients))
        weights = fitted * (1.0 - fitted)
        information = design.T @ (design * weights[:, None])
        if np.linalg.cond(information) > 1.0 / _CONVERGED:
            return nothing
        step = np.linalg.solve(information, design.T @ (outcomes - fitted))
        coefficients = coefficients + step
        if np.abs(coefficients).max() > _LARGEST_COEFFICIENT:
            return nothing
        if np.abs(step).max() < _CONVERGED:
            return float(coefficients[0]), float(coefficients[1])
    return nothing


def logistic_offset(outcomes: IntArray, logits: FloatArray) -> float:
    """Return the intercept of the same model with slope 1; not a number for one outcome only."""
    if outcomes.min() == outcomes.max():
        return float("nan")
    offset = 0.0
    for _ in range(_MAX_STEPS):
        fitted = 1.0 / (1.0 + np.exp(-(logits + offset)))
        step = float((outcomes - fitted).sum() / (fitted * (1.0 - fitted)).sum())
        offset += float(np.clip(step, -1.0, 1.0))
        if abs(step) < _CONVERGED:
            break
    return offset


def _logit(probabilities: FloatArray) -> FloatArray:
    inside = np.clip(probabilities, LOGIT_MARGIN, 1.0 - LOGIT_MARGIN)
    return np.asarray(np.log(inside / (1.0 - inside)), dtype=np.float64)


def _bin_of(probabilities: FloatArray) -> IntArray:
    return np.minimum((probabilities * N_BINS).astype(np.intp), N_BINS - 1)
