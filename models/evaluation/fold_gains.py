"""What one encoder gains over another on the same folds, with intervals by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import N_RESAMPLES, Estimate, interval
from models.evaluation.held_out import Answers

Float64Array = NDArray[np.float64]
IntArray = NDArray[np.intp]
Pair = tuple[Answers, Answers]

MEASURES = ("P@1", "P@5", "AUROC")
_SEED = 7


@dataclass(frozen=True, slots=True)
class Gain:
    """A measure of two encoders over several folds.

    Attributes
    ----------
    before, after
        On the same queries.
    gain
        After minus before, paired: patients are resampled, with all their pictures, seeds and both
        encoders together.

    """

    before: Estimate
    after: Estimate
    gain: Estimate


def resampled(pairs: Sequence[Pair], *, seed: int = _SEED) -> dict[str, Float64Array]:
    """Measure both encoders on all folds: as they are, then over resampled patients.

    Parameters
    ----------
    pairs
        One per seed and fold; both members answer the same queries.
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        Measure -> shape ``(2, 1 + n_resamples)``. P@1 and P@5 are means over all queries, AUROC
        (of the share of the 15 nearest; over classes, if more than two) is the mean over folds.

    """
    names = np.unique(np.concatenate([before.groups for before, _ in pairs]))
    uniform = np.full(names.size, 1.0 / names.size)
    draws = np.random.default_rng(seed).multinomial(names.size, uniform, size=N_RESAMPLES)
    draws = np.vstack([np.ones(names.size, dtype=draws.dtype), draws])
    weights = [draws[:, np.searchsorted(names, before.groups)] for before, _ in pairs]
    n_queries = np.sum([one.sum(axis=1) for one in weights], axis=0)
    table = {}
    for measure, field in (("P@1", "first"), ("P@5", "fifth")):
        table[measure] = np.stack(
            [
                np.sum(
                    [w @ getattr(p[side], field) for w, p in zip(weights, pairs, strict=True)],
                    axis=0,
                )
                / n_queries
                for side in (0, 1)
            ]
        )
    table["AUROC"] = np.stack(
        [
            _mean([weighted_auroc(p[side], w) for w, p in zip(weights, pairs, strict=True)])
            for side in (0, 1)
        ]
    )
    return table


def gains(table: Mapping[str, Float64Array]) -> dict[str, Gain]:
    """Return the estimates of what `resampled` gave, or of a mean of several of its tables."""
    return {
        measure: Gain(_estimate(before), _estimate(after), _estimate(after - before))
        for measure, (before, after) in table.items()
    }


def weighted_auroc(answers: Answers, weights: NDArray[np.integer]) -> Float64Array:
    """Return the AUROC of the neighbours' vote under several weightings of the queries.

    The share of the voters takes few values, so that an area is a sum over pairs of values.

    Parameters
    ----------
    answers
        Of ``q`` queries.
    weights
        Shape ``(r, q)``: how often each query counts.

    Returns
    -------
    numpy.ndarray
        Shape ``(r,)``; for two classes of the second one, for more the mean over them. Not a number
        where a weighting leaves only one side.

    """
    numbers = np.unique(np.r_[answers.classes, answers.voters[answers.voters >= 0]])
    measured = numbers[1:] if numbers.size == 2 else numbers
    areas = []
    for number in measured:
        votes = (answers.voters == number).sum(axis=1)
        levels = np.eye(answers.voters.shape[1] + 1)[votes]
        truth = answers.classes == number
        right, wrong = (weights[:, side] @ levels[side] for side in (truth, ~truth))
        below = np.cumsum(wrong, axis=1) - 0.5 * wrong
        n_pairs = right.sum(axis=1) * wrong.sum(axis=1)
        with np.errstate(invalid="ignore"):
            areas.append((right * below).sum(axis=1) / n_pairs)
    mean: Float64Array = np.mean(areas, axis=0)
    return mean


def _mean(columns: list[Float64Array]) -> Float64Array:
    """Return the mean over folds of the values that are numbers."""
    table = np.array(columns)
    known = ~np.isnan(table)
    means: Float64Array = np.where(known, table, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return means


def _estimate(values: Float64Array) -> Estimate:
    """Return the first value with the interval of the others."""
    return interval(float(values[0]), values[1:])
