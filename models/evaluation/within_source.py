"""How well neighbours share a label: precision at k and the AUROC of a nearest-neighbour vote."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from models.evaluation.bootstrap import Estimate, interval, patient_resamples

__all__ = ["Estimate", "RetrievalTask", "measured", "neighbor_auroc", "precision_at", "ranked"]

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.intp]

N_VOTERS = 15


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalTask:
    """Queries against a library of the same source and other patients.

    Attributes
    ----------
    query_classes
        Shape ``(q,)``, class index from 0.
    library_classes
        Shape ``(n,)``.
    query_patients, library_patients
        Shapes ``(q,)`` and ``(n,)``, a number per patient. A query never meets its own patient, and
        resampling draws whole patients.

    """

    query_classes: IntArray
    library_classes: IntArray
    query_patients: IntArray
    library_patients: IntArray

    @property
    def n_classes(self) -> int:
        """How many classes the library has."""
        return int(self.library_classes.max()) + 1

    @property
    def majority(self) -> float:
        """P@k of a random library case of the most frequent class."""
        most = int(np.bincount(self.library_classes).argmax())
        return float((self.query_classes == most).mean())


def ranked(queries: Float32Array, library: Float32Array, task: RetrievalTask) -> IntArray:
    """Rank the library for each query by inner product; the query's own patient comes last.

    Parameters
    ----------
    queries
        Shape ``(q, d)``, unit norm.
    library
        Shape ``(n, d)``, unit norm.
    task
        The patients.

    Returns
    -------
    numpy.ndarray
        Shape ``(q, n)``, library indices, most similar first; ties by index.

    """
    similarities = queries @ library.T
    similarities[task.query_patients[:, None] == task.library_patients[None, :]] = -np.inf
    return np.argsort(-similarities, axis=1, kind="stable")


def precision_at(ranking: IntArray, task: RetrievalTask, *, cutoff: int) -> NDArray[np.float64]:
    """Return P@k of each query: the share of the first `cutoff` cases that have its class.

    Parameters
    ----------
    ranking
        Shape ``(q, n)``, as `ranked` gives it.
    task
        The classes.
    cutoff
        k; where the library is smaller the missing cases count as wrong.

    Returns
    -------
    numpy.ndarray
        Shape ``(q,)``.

    Examples
    --------
    >>> task = RetrievalTask(np.array([0]), np.array([0, 1, 0]), np.array([9]), np.arange(3))
    >>> precision_at(np.array([[2, 1, 0]]), task, cutoff=2)
    array([0.5])

    """
    found = task.library_classes[ranking[:, :cutoff]] == task.query_classes[:, None]
    precision: NDArray[np.float64] = found.sum(axis=1) / float(cutoff)
    return precision


def neighbor_auroc(ranking: IntArray, task: RetrievalTask, *, n_voters: int = N_VOTERS) -> float:
    """Return the AUROC of the share of neighbours per class; the mean over classes if more than 2.

    Parameters
    ----------
    ranking
        Shape ``(q, n)``.
    task
        The classes.
    n_voters
        How many neighbours vote.

    Returns
    -------
    float
        Not a number where the queries are all of one class.

    """
    votes = task.library_classes[ranking[:, :n_voters]]
    classes = [1] if task.n_classes == 2 else list(range(task.n_classes))
    values = []
    for number in classes:
        truth = task.query_classes == number
        if truth.all() or not truth.any():
            return float("nan")
        values.append(float(roc_auc_score(truth, (votes == number).mean(axis=1))))
    return float(np.mean(values))


def measured(
    queries: Float32Array, library: Float32Array, task: RetrievalTask, *, seed: int
) -> dict[str, Estimate]:
    """Measure one encoder on one task.

    Parameters
    ----------
    queries, library
        Embeddings ``(q, d)`` and ``(n, d)``, unit norm.
    task
        The classes and patients.
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        ``P@1``, ``P@5`` and ``AUROC``, each with a 95 % interval over resampled patients.

    """
    ranking = ranked(queries, library, task)
    first = precision_at(ranking, task, cutoff=1)
    fifth = precision_at(ranking, task, cutoff=5)

    def values(chosen: IntArray) -> tuple[float, float, float]:
        part = replace(
            task,
            query_classes=task.query_classes[chosen],
            query_patients=task.query_patients[chosen],
        )
        auroc = neighbor_auroc(ranking[chosen], part)
        return float(first[chosen].mean()), float(fifth[chosen].mean()), auroc

    everything = values(np.arange(len(task.query_classes)))
    drawn = np.array([values(chosen) for chosen in patient_resamples(task.query_patients, seed)])
    return {
        name: interval(everything[column], drawn[:, column])
        for column, name in enumerate(("P@1", "P@5", "AUROC"))
    }
