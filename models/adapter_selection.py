"""Chooses a site adapter by validation, and measures it on patients who chose and fitted nothing.

Two loops, both over whole patients: inside the training folds a candidate is chosen, and the
held-out fold says what the choice is worth. Only the held-out figures are reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import N_RESAMPLES, Estimate, interval
from models.evaluation.held_out import Answers, answered, joined
from models.labelled_vectors import LabelledVectors, learnable
from models.site_adapter import CANDIDATES, IDENTITY, Candidate, LinearMap, fitted

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
IntArray = NDArray[np.intp]
Progress = Callable[[int, int], None]

N_OUTER_FOLDS = 4
N_INNER_FOLDS = 3
MEASURES = ("P@1", "P@5", "AUROC")
_N_AUROC_RESAMPLES = 100


@dataclass(frozen=True, slots=True)
class Choice:
    """The adapter that a site should use, and what it is worth.

    Attributes
    ----------
    candidate, linear_map
        The winner, fitted on every labelled case; the identity where nothing beats it.
    before, after, gain
        Measure -> estimate, means over collections, on held-out patients: of the encoder's own
        vectors, of what validation chose, and paired.
    chosen
        Candidate -> in how many outer folds it was chosen.
    objectives
        Candidate -> mean of P@1 and P@5 in the last inner loop, which decides what is fitted.
    distinct_before, distinct_after
        Share of the queries' nearest cases that are distinct: an adapter that answers everything
        with a few favourite cases lowers it.
    by_collection
        Collection number -> measure -> (before, after).

    """

    candidate: Candidate
    linear_map: LinearMap
    n_cases: int
    n_groups: int
    before: dict[str, Estimate]
    after: dict[str, Estimate]
    gain: dict[str, Estimate]
    chosen: dict[str, int]
    objectives: dict[str, float]
    distinct_before: float
    distinct_after: float
    by_collection: dict[int, dict[str, tuple[float, float]]]

    @property
    def is_identity(self) -> bool:
        """Tell whether the encoder's own vectors are kept."""
        return self.candidate.method == IDENTITY


def choose(
    labelled: LabelledVectors,
    *,
    seed: int,
    candidates: tuple[Candidate, ...] = CANDIDATES,
    progress: Progress | None = None,
) -> Choice:
    """Choose and fit an adapter.

    The identity wins ties: it stays unless the lower end of the paired interval of the gain (mean
    of P@1 and P@5) lies above zero.

    Parameters
    ----------
    labelled
        Every labelled picture.
    seed
        Of folds, samples and resampling.
    candidates
        Methods with settings; the identity is always among them.
    progress
        Told how many of how many fits of all candidates are done.

    Raises
    ------
    CdsError
        INVALID_REQUEST if too few labelled patients are there.

    """
    training = learnable(labelled)
    if all(one.method != IDENTITY for one in candidates):
        candidates = (Candidate(IDENTITY), *candidates)
    steps = _Steps(progress, (N_OUTER_FOLDS + 1) * N_INNER_FOLDS)
    folds = group_folds(training, N_OUTER_FOLDS, seed=seed)
    plain: dict[int, list[Answers]] = {}
    adapted: dict[int, list[Answers]] = {}
    chosen: Counter[str] = Counter()
    for fold in range(N_OUTER_FOLDS):
        library, queries = training.part(folds != fold), training.part(folds == fold)
        winner, _ = inner_winner(library, candidates, seed + 1 + fold, steps.done)
        chosen[winner.name] += 1
        (_, identity), (_, best) = fitted(library, (Candidate(IDENTITY), winner), seed=seed)
        _collect(plain, identity, queries, library)
        _collect(adapted, best, queries, library)
    winner, objectives = inner_winner(training, candidates, seed, steps.done)
    before, after, gain = _estimates(plain, adapted, seed)
    if _objective_gain(plain, adapted, seed).low <= 0.0:
        winner = Candidate(IDENTITY)
    ((_, linear_map),) = fitted(training, (winner,), seed=seed)
    return Choice(
        candidate=winner,
        linear_map=linear_map,
        n_cases=len(training),
        n_groups=training.n_groups,
        before=before,
        after=after,
        gain=gain,
        chosen=dict(chosen),
        objectives=objectives,
        distinct_before=_distinct(plain),
        distinct_after=_distinct(adapted),
        by_collection=_by_collection(plain, adapted),
    )


def group_folds(labelled: LabelledVectors, n_folds: int, *, seed: int) -> IntArray:
    """Deal whole patients to folds, collection by collection.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``, the fold of each row, from 0.

    """
    generator = np.random.default_rng(seed)
    names, first = np.unique(labelled.groups, return_index=True)
    order = np.lexsort((generator.permutation(names.size), labelled.collections[first]))
    fold_of = np.empty(names.size, dtype=np.intp)
    fold_of[order] = np.arange(names.size) % n_folds
    folds: IntArray = fold_of[np.searchsorted(names, labelled.groups)]
    return folds


class _Steps:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def done(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


def inner_winner(
    training: LabelledVectors,
    candidates: tuple[Candidate, ...],
    seed: int,
    stepped: Callable[[], None] = lambda: None,
) -> tuple[Candidate, dict[str, float]]:
    """Return the best candidate of an inner loop, and what each reached; identity wins ties.

    Parameters
    ----------
    training
        What may choose.
    candidates
        Methods with settings.
    seed
        Of folds and samples.
    stepped
        Called after each fold.

    """
    folds = group_folds(training, N_INNER_FOLDS, seed=seed)
    objectives = {one.name: 0.0 for one in candidates}
    for fold in range(N_INNER_FOLDS):
        library, queries = training.part(folds != fold), training.part(folds == fold)
        for candidate, linear_map in fitted(library, candidates, seed=seed):
            parts = answered(linear_map, queries, library).values()
            value = np.mean([(p.first.mean() + p.fifth.mean()) / 2 for p in parts])
            objectives[candidate.name] += float(value) / N_INNER_FOLDS
        stepped()
    best = max(candidates, key=lambda one: (objectives[one.name], one.method == IDENTITY))
    return best, objectives


def _collect(
    into: dict[int, list[Answers]],
    linear_map: LinearMap,
    queries: LabelledVectors,
    library: LabelledVectors,
) -> None:
    for number, answers in answered(linear_map, queries, library).items():
        into.setdefault(number, []).append(answers)


def _estimates(
    plain: dict[int, list[Answers]], adapted: dict[int, list[Answers]], seed: int
) -> tuple[dict[str, Estimate], dict[str, Estimate], dict[str, Estimate]]:
    """Return before, after and the paired difference of each measure."""
    tables = {}
    for name, held in (("before", plain), ("after", adapted)):
        merged = [joined(parts) for parts in held.values()]
        tables[name] = {
            "P@1": _resampled([(one.first, one.groups) for one in merged], seed),
            "P@5": _resampled([(one.fifth, one.groups) for one in merged], seed),
            "AUROC": _resampled_auroc(merged, seed),
        }
    return (
        {name: _estimate(tables["before"][name]) for name in MEASURES},
        {name: _estimate(tables["after"][name]) for name in MEASURES},
        {name: _estimate(tables["after"][name] - tables["before"][name]) for name in MEASURES},
    )


def _objective_gain(
    plain: dict[int, list[Answers]], adapted: dict[int, list[Answers]], seed: int
) -> Estimate:
    differences = []
    for number, parts in plain.items():
        one, other = joined(parts), joined(adapted[number])
        gain = (other.first - one.first + other.fifth - one.fifth) / 2
        differences.append((gain, one.groups))
    return _estimate(_resampled(differences, seed))


def _estimate(values: Float64Array) -> Estimate:
    """Return the first value with the interval of the others."""
    return interval(float(values[0]), values[1:])


def _resampled(parts: list[tuple[Float64Array, IntArray]], seed: int) -> Float64Array:
    """Return the mean over collections: as it is, then over resampled patients."""
    generator = np.random.default_rng(seed)
    total = np.zeros(1 + N_RESAMPLES)
    for values, groups in parts:
        names, numbers = np.unique(groups, return_inverse=True)
        sums, counts = np.bincount(numbers, values), np.bincount(numbers)
        draws = generator.multinomial(
            names.size, np.full(names.size, 1.0 / names.size), size=N_RESAMPLES
        )
        total[0] += values.mean() / len(parts)
        total[1:] += (draws @ sums) / (draws @ counts) / len(parts)
    return total


def _resampled_auroc(parts: list[Answers], seed: int) -> Float64Array:
    generator = np.random.default_rng(seed)
    columns = []
    for part in parts:
        names, numbers = np.unique(part.groups, return_inverse=True)
        rows_of = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1])
        values = [part.auroc(np.arange(part.classes.size))]
        for _ in range(_N_AUROC_RESAMPLES):
            drawn = generator.integers(names.size, size=names.size)
            values.append(part.auroc(np.concatenate([rows_of[i] for i in drawn])))
        columns.append(values)
    table = np.array(columns)
    known = ~np.isnan(table)
    means: Float64Array = np.where(known, table, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return means


def _distinct(held: dict[int, list[Answers]]) -> float:
    shares = [
        np.unique(p.neighbor).size / p.neighbor.size for parts in held.values() for p in parts
    ]
    return float(np.mean(shares))


def _by_collection(
    plain: dict[int, list[Answers]], adapted: dict[int, list[Answers]]
) -> dict[int, dict[str, tuple[float, float]]]:
    table = {}
    for number, parts in plain.items():
        one, other = joined(parts), joined(adapted[number])
        everything = np.arange(one.classes.size)
        table[number] = {
            "P@1": (float(one.first.mean()), float(other.first.mean())),
            "P@5": (float(one.fifth.mean()), float(other.fifth.mean())),
            "AUROC": (one.auroc(everything), other.auroc(everything)),
        }
    return table
