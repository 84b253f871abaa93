"""The main measures within each sex, age band, view and source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Estimate, Resamples, interval
from models.evaluation.classification import (
    ClassProbabilities,
    drawn_ranked_measures,
    ranked_measures,
)
from models.evaluation.dataset import ATTRIBUTES, EvaluationSet

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# With fewer patients an interval by resampling says nothing.
MINIMUM_PATIENTS = 10
NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class Subgroup:
    """Queries that share a value of an attribute, searched against the whole library.

    Attributes
    ----------
    attribute, value
        For example "sex" and "female".
    n_queries, n_patients
        How many.
    majority
        Share of the subgroup's most frequent class: what is easy in it.
    precision_at_1
        None with fewer than 10 patients.
    auroc
        Of the 15 nearest neighbours; not a number where a class is missing.

    """

    attribute: str
    value: str
    n_queries: int
    n_patients: int
    majority: float
    precision_at_1: Estimate | None
    auroc: Estimate | None


def subgroups(
    data: EvaluationSet,
    first_right: FloatArray,
    said: ClassProbabilities,
    *,
    seed: int,
    n_resamples: int,
) -> tuple[Subgroup, ...]:
    """Measure each subgroup of the queries.

    Parameters
    ----------
    data
        The set.
    first_right
        P@1 of each query, shape ``(q,)``.
    said
        By the 15 nearest neighbours.
    seed, n_resamples
        Of the bootstrap by patient within the subgroup.

    Returns
    -------
    tuple of Subgroup
        By attribute, then value; an attribute with one value is left out.

    """
    found = []
    for attribute in ATTRIBUTES:
        values = np.array(data.values_of(attribute, data.queries))
        if len(np.unique(values)) < 2:
            continue
        for value in sorted(set(values.tolist()), key=lambda text: (not text, text)):
            inside = np.flatnonzero(values == value)
            groups = data.query_groups[inside]
            draws = Resamples.of_patients(groups, seed=seed, n_resamples=n_resamples)
            found.append(
                _subgroup(data, (attribute, value or NOT_STATED), inside, first_right, said, draws)
            )
    return tuple(found)


def _subgroup(
    data: EvaluationSet,
    name: tuple[str, str],
    inside: IntArray,
    first_right: FloatArray,
    said: ClassProbabilities,
    draws: Resamples,
) -> Subgroup:
    truth = data.query_labels[inside]
    patients = data.patients[data.queries[inside]]
    n_patients = len(np.unique(patients))
    precision = auroc = None
    if n_patients >= MINIMUM_PATIENTS:
        shares = said.raw_probabilities[inside]
        precision = draws.mean(first_right[inside])
        area = float(ranked_measures(truth, shares)[0])
        auroc = interval(area, drawn_ranked_measures(truth, shares, draws)[:, 0])
    majority = float(np.bincount(truth).max() / len(truth))
    return Subgroup(*name, len(inside), n_patients, majority, precision, auroc)
