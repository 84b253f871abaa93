"""Learn from the library's vectors what its pictures are like, so that others can be refused.

Chosen by measurement (`docs/out-of-distribution.md`): the Mahalanobis distance to the nearest of
several centres, one per collection, with the scatter that all have in common, told other pictures
from the library's better than the distance to the nearest neighbours, or a scatter of each
collection's own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cds.domain.picture_gate import GateClass, PictureGate, mahalanobis
from cds.domain.similarity_limits import PictureGroup

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

REFUSED_SHARE = 0.02  # of the library's own pictures; the similarity limit refuses 2.5 %
MIN_PATIENTS = 20  # a collection without a centre of its own would be refused as unlike the others
N_FOLDS = 5
SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Centres:
    means: Float32Array
    precision: Float32Array


def fit_gate(
    vectors: Float32Array, groups: Sequence[PictureGroup], patients: IntArray
) -> PictureGate | None:
    """Learn the gate of a library.

    Pictures of one kind, body part, age group and collection are a class if they come from at least
    `MIN_PATIENTS` patients; the others of their kind are one class together, if they are as many.
    Limits are cross-fitted: each picture is measured by a gate that was learnt without its patient.
    A class has the limit of its own pictures, or that of its whole kind if it is stricter: a class
    that scatters widely lets nothing pass that the others would not.

    Parameters
    ----------
    vectors
        Shape ``(n, d)``, unit norm.
    groups, patients
        Of each row: what it is a picture of, and the patient's number.

    Returns
    -------
    PictureGate or None
        None where no class has enough patients. Seeded: equal input gives an equal gate.

    References
    ----------
    Lee et al. 2018, A Simple Unified Framework for Detecting Out-of-Distribution Samples
    (arXiv:1807.03888); Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4.

    """
    classes, numbers = _classes(groups, patients)
    if not classes:
        return None
    kept = numbers >= 0
    vectors, numbers, patients = vectors[kept], numbers[kept], patients[kept]
    distances = _cross_fitted(vectors, numbers, patients, len(classes))
    learnt = _centres(vectors, numbers, len(classes))
    kinds = np.array([group.kind for group in classes])
    found = []
    for number, group in enumerate(classes):
        own = numbers == number
        alike = np.isin(numbers, np.flatnonzero(kinds == group.kind))
        limit = min(_limit(distances[own]), _limit(distances[alike]))
        found.append(GateClass(group, limit, int(np.unique(patients[own]).size)))
    return PictureGate(tuple(found), learnt.means, learnt.precision)


def _limit(distances: NDArray[np.float64]) -> float:
    return float(np.quantile(distances, 1.0 - REFUSED_SHARE))


def _classes(
    groups: Sequence[PictureGroup], patients: IntArray
) -> tuple[list[PictureGroup], IntArray]:
    """Return the classes, and each row's number among them, -1 for none."""
    large = _large(groups, patients)
    rest = [PictureGroup(group.kind) if group not in large else group for group in groups]
    large = _large(rest, patients)
    classes = sorted(large, key=lambda g: (g.kind, g.body_part, g.age, g.collection))
    number = {group: i for i, group in enumerate(classes)}
    return classes, np.array([number.get(group, -1) for group in rest], dtype=np.int64)


def _large(groups: Sequence[PictureGroup], patients: IntArray) -> set[PictureGroup]:
    members: dict[PictureGroup, Counter[int]] = defaultdict(Counter)
    for group, patient in zip(groups, patients.tolist(), strict=True):
        members[group][patient] += 1
    return {group for group, whose in members.items() if len(whose) >= MIN_PATIENTS}


def _cross_fitted(
    vectors: Float32Array, numbers: IntArray, patients: IntArray, n_classes: int
) -> NDArray[np.float64]:
    """Return each row's distance to its own centre, by a gate learnt without its patient."""
    whose, of_row = np.unique(patients, return_inverse=True)
    fold = np.random.default_rng(SEED).permutation(whose.size)[of_row] % N_FOLDS
    distances = np.zeros(vectors.shape[0])
    for number in range(N_FOLDS):
        out = fold == number
        learnt = _centres(vectors[~out], numbers[~out], n_classes)
        found = mahalanobis(vectors[out], learnt.means, learnt.precision)
        distances[out] = found[np.arange(found.shape[0]), numbers[out]]
    return distances


def _centres(vectors: Float32Array, numbers: IntArray, n_classes: int) -> _Centres:
    from sklearn.covariance import ledoit_wolf  # 1 s to import

    means = np.stack([vectors[numbers == i].mean(axis=0) for i in range(n_classes)])
    covariance, _ = ledoit_wolf(vectors - means[numbers], assume_centered=True)
    precision = np.linalg.inv(covariance)
    return _Centres(means.astype(np.float32), precision.astype(np.float32))
