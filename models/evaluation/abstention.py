"""What is gained by staying silent on the queries that a classifier is least sure of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Estimate, Resamples
from models.evaluation.classification import ClassProbabilities

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

COVERAGES = tuple(round(0.05 * step, 2) for step in range(1, 21))


@dataclass(frozen=True, slots=True)
class AbstentionCurve:
    """Share of wrong decisions among those answered, from the surest query down.

    Attributes
    ----------
    coverages
        Shares of the queries that are answered.
    risks
        Share of wrong decisions among them, one per coverage.
    area
        Mean of the risks: area under the curve; the share of wrong decisions if sureness says
        nothing.

    """

    coverages: tuple[float, ...]
    risks: tuple[Estimate, ...]
    area: Estimate


def risks_at(
    is_wrong: NDArray[np.bool_], sureness: FloatArray, coverages: tuple[float, ...] = COVERAGES
) -> FloatArray:
    """Return the share of wrong decisions among the surest queries.

    Parameters
    ----------
    is_wrong
        Shape ``(q,)``.
    sureness
        Shape ``(q,)``. Queries that are equally sure share their errors evenly, so that the order
        of the data does not matter.
    coverages
        Shares in (0, 1].

    Returns
    -------
    numpy.ndarray
        One per coverage.

    References
    ----------
    El-Yaniv and Wiener 2010, JMLR 11:1605 (risk-coverage curve).

    Examples
    --------
    >>> risks_at(np.array([False, True]), np.array([0.9, 0.6]), (0.5, 1.0))
    array([0. , 0.5])

    """
    levels, places = np.unique(-sureness, return_inverse=True)
    n_answered = np.concatenate([[0], np.cumsum(np.bincount(places, minlength=len(levels)))])
    wrong = np.bincount(places, weights=is_wrong.astype(np.float64), minlength=len(levels))
    n_wrong = np.concatenate([[0.0], np.cumsum(wrong)])
    wanted = np.array(coverages) * len(is_wrong)
    return np.asarray(np.interp(wanted, n_answered, n_wrong) / wanted, dtype=np.float64)


def abstention_curve(
    truth: IntArray, said: ClassProbabilities, resamples: Resamples
) -> AbstentionCurve:
    """Measure what silence gains; sureness is the largest probability of a class.

    Parameters
    ----------
    truth
        Shape ``(q,)``.
    said
        By the classifier.
    resamples
        Draws of patients.

    Returns
    -------
    AbstentionCurve
        With intervals by patient.

    """
    is_wrong = said.decisions != truth
    sureness = said.raw_probabilities.max(axis=1)

    def values(chosen: IntArray) -> FloatArray:
        risks = risks_at(is_wrong[chosen], sureness[chosen])
        return np.append(risks, risks.mean())

    *risks, area = resamples.each(values)
    return AbstentionCurve(COVERAGES, tuple(risks), area)
