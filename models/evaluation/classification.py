"""From neighbours or vectors to probabilities of classes, and how good they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from models.evaluation.bootstrap import Estimate, Resamples, interval
from models.evaluation.dataset import EvaluationSet
from models.evaluation.retrieval import N_VOTERS, Neighbors

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

ACCURACY, PRECISION, SENSITIVITY = "Accuracy", "Precision", "Recall = sensitivity"
SPECIFICITY, F1, AUROC, AUPRC = "Specificity", "F1", "AUROC", "AUPRC"
COUNTED = (ACCURACY, PRECISION, SENSITIVITY, SPECIFICITY, F1)
MEASURES = (*COUNTED, AUROC, AUPRC)
PROBE_FOLDS = 5
_PROBE_STRENGTHS = (1e-3, 1e-2, 1e-1)  # inverse regularisation that the inner folds choose from
_TIE_WEIGHT = 1e-6  # smaller than a vote by far: only decides between equal numbers of votes


@dataclass(frozen=True, slots=True, eq=False)
class ClassProbabilities:
    """What a classifier says of each query.

    Attributes
    ----------
    method
        What the report calls the classifier.
    raw_probabilities
        Shape ``(q, n_classes)``, rows sum to 1; not recalibrated.
    decisions
        Shape ``(q,)``, the class that it settles on.

    """

    method: str
    raw_probabilities: FloatArray
    decisions: IntArray


def neighbor_shares(neighbors: Neighbors, n_classes: int) -> ClassProbabilities:
    """Let the nearest 15 vote: the share of each class among them.

    Parameters
    ----------
    neighbors
        Of each query; fewer vote where a query may meet fewer.
    n_classes
        How many classes there are.

    Returns
    -------
    ClassProbabilities
        A tie is settled by the nearer neighbours; a query that may meet nobody has equal shares.

    """
    voters = neighbors.classes[:, :N_VOTERS]
    nearer_first = 1.0 + _TIE_WEIGHT * np.arange(voters.shape[1], 0, -1)
    votes = np.stack([(voters == c).sum(axis=1) for c in range(n_classes)], axis=1)
    weighted = np.stack(
        [((voters == c) * nearer_first).sum(axis=1) for c in range(n_classes)], axis=1
    )
    n_voters = votes.sum(axis=1, keepdims=True)
    shares = np.where(n_voters > 0, votes / np.maximum(n_voters, 1), 1.0 / n_classes)
    return ClassProbabilities(f"{N_VOTERS} nearest neighbours", shares, weighted.argmax(axis=1))


def linear_probe(
    vectors: NDArray[np.float32], data: EvaluationSet, *, seed: int
) -> ClassProbabilities:
    """Fit a logistic regression on the vectors, never on a query's own patient.

    Where queries and library are the same pictures, five folds by group; else once on the library.

    Parameters
    ----------
    vectors
        Shape ``(n, d)``.
    data
        The set.
    seed
        Of the folds.

    Returns
    -------
    ClassProbabilities
        Of each query.

    """
    from sklearn.model_selection import StratifiedGroupKFold

    probabilities = np.zeros((len(data.queries), len(data.classes)))
    if not data.is_leave_one_out:
        own = np.isin(data.groups[data.library], data.query_groups)
        train = data.library[~own]
        probabilities[:] = _fitted(vectors, data, train, data.queries)
    else:
        folds = StratifiedGroupKFold(PROBE_FOLDS, shuffle=True, random_state=seed)
        for train, test in folds.split(data.queries, data.query_labels, data.query_groups):
            probabilities[test] = _fitted(vectors, data, data.queries[train], data.queries[test])
    return ClassProbabilities("linear probe", probabilities, probabilities.argmax(axis=1))


def _fitted(
    vectors: NDArray[np.float32], data: EvaluationSet, train: IntArray, test: IntArray
) -> FloatArray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        {"logisticregression__C": _PROBE_STRENGTHS},
        scoring="neg_log_loss",
        cv=GroupKFold(3),
    )
    search.fit(vectors[train], data.labels[train], groups=data.groups[train])
    probabilities = np.zeros((len(test), len(data.classes)))
    probabilities[:, search.classes_] = search.predict_proba(vectors[test])
    return probabilities


def confusion_of(
    truth: IntArray, decisions: IntArray, n_classes: int, weights: FloatArray | None = None
) -> FloatArray:
    """Count decisions: shape ``(n_classes, n_classes)``, row true class, column decision."""
    cells = np.bincount(truth * n_classes + decisions, weights=weights, minlength=n_classes**2)
    return np.asarray(cells, dtype=np.float64).reshape(n_classes, n_classes)


def counted_measures(confusion: FloatArray) -> FloatArray:
    """Return accuracy, precision, sensitivity, specificity and F1 of a confusion matrix.

    Parameters
    ----------
    confusion
        Shape ``(n_classes, n_classes)``, row true class, column decision.

    Returns
    -------
    numpy.ndarray
        Shape ``(5,)``, in the order of `COUNTED`. With two classes of the second class; with more,
        the mean over the classes, each against the rest. A share of nothing is 0.

    """
    hits = np.diag(confusion)
    total = confusion.sum()
    n_true, n_decided = confusion.sum(axis=1), confusion.sum(axis=0)
    precisions = _share(hits, n_decided)
    sensitivities = _share(hits, n_true)
    specificities = _share(total - n_true - n_decided + hits, total - n_true)
    f1 = _share(2.0 * hits, n_true + n_decided)
    which = slice(1, 2) if len(confusion) == 2 else slice(None)
    means = [column[which].mean() for column in (precisions, sensitivities, specificities, f1)]
    return np.array([hits.sum() / total, *means])


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.asarray(np.where(whole > 0, part / np.maximum(whole, 1e-12), 0.0), dtype=np.float64)


def ranked_measures(truth: IntArray, raw_probabilities: FloatArray) -> FloatArray:
    """Return AUROC and AUPRC: of the second of two classes, else the mean over classes.

    Parameters
    ----------
    truth
        Shape ``(q,)``.
    raw_probabilities
        Shape ``(q, n_classes)``.

    Returns
    -------
    numpy.ndarray
        Shape ``(2,)``; not a number where a class is missing or alone. AUPRC is scikit-learn's
        average precision.

    """
    values = []
    for number in _looked_at(raw_probabilities):
        is_class = truth == number
        if is_class.all() or not is_class.any():
            return np.full(2, np.nan)
        column = raw_probabilities[:, number]
        values.append((roc_auc_score(is_class, column), average_precision_score(is_class, column)))
    return np.asarray(np.mean(values, axis=0), dtype=np.float64)


def drawn_ranked_measures(
    truth: IntArray, raw_probabilities: FloatArray, resamples: Resamples
) -> FloatArray:
    """Return what `ranked_measures` gives in each draw, for all draws at once.

    Parameters
    ----------
    truth, raw_probabilities
        As for `ranked_measures`.
    resamples
        Draws of patients.

    Returns
    -------
    numpy.ndarray
        Shape ``(n_draws, 2)``.

    """
    weights = resamples.weights()
    values = [
        _weighted_areas(truth == number, raw_probabilities[:, number], weights)
        for number in _looked_at(raw_probabilities)
    ]
    return np.asarray(np.mean(values, axis=0), dtype=np.float64)


def _looked_at(raw_probabilities: FloatArray) -> range:
    """Return the classes that count: of two, the second."""
    n_classes = raw_probabilities.shape[1]
    return range(1, 2) if n_classes == 2 else range(n_classes)


def _weighted_areas(
    is_class: NDArray[np.bool_], column: FloatArray, weights: FloatArray
) -> FloatArray:
    """Return AUROC and average precision under each row of weights, shape ``(n_rows, 2)``."""
    order = np.argsort(-column, kind="stable")
    levels = np.flatnonzero(np.diff(column[order], prepend=np.inf))
    is_first = is_class[order].astype(np.float64)
    inside = np.add.reduceat(weights[:, order] * is_first, levels, axis=1)
    outside = np.add.reduceat(weights[:, order] * (1.0 - is_first), levels, axis=1)
    above_inside, above_outside = inside.cumsum(axis=1), outside.cumsum(axis=1)
    n_inside, n_outside = above_inside[:, -1], above_outside[:, -1]
    beaten = n_outside[:, None] - above_outside + outside / 2.0
    shares = above_inside / np.maximum(above_inside + above_outside, 1e-12)
    possible = np.where((n_inside > 0.0) & (n_outside > 0.0), 1.0, np.nan)
    auroc = (inside * beaten).sum(axis=1) / np.maximum(n_inside * n_outside, 1e-12)
    precision = (inside * shares).sum(axis=1) / np.maximum(n_inside, 1e-12)
    return np.column_stack([auroc * possible, precision * possible])


def classification_estimates(
    truth: IntArray, said: ClassProbabilities, resamples: Resamples
) -> tuple[dict[str, Estimate], dict[str, FloatArray]]:
    """Measure a classifier with intervals by patient.

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
    tuple
        Measure to estimate, in the order of `MEASURES`; and measure to its value in each draw,
        shape ``(n_resamples,)``, for differences that are paired.

    """
    n_classes = said.raw_probabilities.shape[1]

    def counted(chosen: IntArray) -> FloatArray:
        return counted_measures(confusion_of(truth[chosen], said.decisions[chosen], n_classes))

    ranked = ranked_measures(truth, said.raw_probabilities)
    everything = np.concatenate([counted(np.arange(len(truth))), ranked])
    drawn = np.hstack(
        [
            np.array([counted(draw) for draw in resamples.draws]),
            drawn_ranked_measures(truth, said.raw_probabilities, resamples),
        ]
    )
    estimates = {
        name: interval(float(everything[i]), drawn[:, i]) for i, name in enumerate(MEASURES)
    }
    return estimates, {name: drawn[:, i] for i, name in enumerate(MEASURES)}


def majority_measures(data: EvaluationSet) -> dict[str, float]:
    """Return the measures of always deciding for the library's most frequent class."""
    decisions = np.full(len(data.queries), int(data.class_shares.argmax()))
    counted = counted_measures(confusion_of(data.query_labels, decisions, len(data.classes)))
    constant = np.tile(data.class_shares, (len(data.queries), 1))
    ranked = ranked_measures(data.query_labels, constant)
    return dict(zip(MEASURES, [*counted.tolist(), *ranked.tolist()], strict=True))
