"""The whole evaluation of one encoder on one set of pictures, as a value."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from models.evaluation.abstention import AbstentionCurve, abstention_curve
from models.evaluation.bootstrap import N_RESAMPLES, Estimate, Resamples, interval
from models.evaluation.calibration import Calibration, calibration_of
from models.evaluation.classification import (
    ClassProbabilities,
    classification_estimates,
    confusion_of,
    linear_probe,
    majority_measures,
    neighbor_shares,
)
from models.evaluation.dataset import SOURCE, EvaluationSet
from models.evaluation.retrieval import PRECISION_AT_1, Neighbors, nearest, per_query
from models.evaluation.shortcuts import ShortcutAudit, shortcut_audits
from models.evaluation.subgroups import Subgroup, subgroups

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
Say = Callable[[str], None]

SCHEMA = "precedent.evaluation/1"
_CURVE_POINTS = 200  # that a plot can show


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What a person may choose.

    Attributes
    ----------
    seed
        Of every draw.
    n_resamples
        Of the bootstrap by patient.
    with_probe
        Whether a linear probe is fitted too.

    """

    seed: int = 0
    n_resamples: int = N_RESAMPLES
    with_probe: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """An encoder with its vectors of the set, shape ``(n, d)``, unit norm.

    Attributes
    ----------
    trained_on
        Sources that its manifest names.

    """

    name: str
    encoder_hash: str
    vectors: Float32Array
    trained_on: tuple[str, ...] = ()

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of a table of results.

    Attributes
    ----------
    name
        As the literature writes it.
    estimate
        Of the encoder.
    baseline, gain
        Of the encoder that it is compared with, and the difference, paired by query; None without.
    majority
        What the library's most frequent class alone would give; None where that has no meaning.

    """

    name: str
    estimate: Estimate
    baseline: Estimate | None
    gain: Estimate | None
    majority: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """ROC and precision-recall points of one class; at most about 200 each."""

    owner: str
    class_name: str
    false_positive_rates: tuple[float, ...]
    true_positive_rates: tuple[float, ...]
    recalls: tuple[float, ...]
    precisions: tuple[float, ...]
    prevalence: float


@dataclass(frozen=True, slots=True)
class Classifier:
    """A way from vectors to classes, measured.

    Attributes
    ----------
    confusion
        Row true class, column decision.
    curves
        Of the encoder; with two classes also of the baseline.

    """

    method: str
    measures: tuple[Measure, ...]
    confusion: tuple[tuple[int, ...], ...]
    curves: tuple[Curve, ...]
    calibrations: tuple[Calibration, ...]
    abstention: AbstentionCurve
    baseline_abstention: AbstentionCurve | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that the report says; holds no name of a patient or file.

    Attributes
    ----------
    n_queries, n_query_patients, n_library, n_library_patients
        Pictures and distinct patients on either side.
    n_without_relevant
        Queries with no case of their class to find: they count as 0, they do not vanish.
    class_counts
        Class to pictures among queries and in the library.
    training_notes
        A sentence per encoder that was trained on one of the sources.
    notes
        What was left out, and what could not be measured.

    """

    data_name: str
    data_hash: str
    classes: tuple[str, ...]
    class_counts: dict[str, tuple[int, int]]
    is_leave_one_out: bool
    n_queries: int
    n_query_patients: int
    n_library: int
    n_library_patients: int
    n_without_relevant: int
    encoder_name: str
    encoder_hash: str
    dimension: int
    baseline_name: str | None
    baseline_hash: str | None
    settings: EvaluationSettings
    retrieval: tuple[Measure, ...]
    classifiers: tuple[Classifier, ...]
    subgroups: tuple[Subgroup, ...]
    shortcuts: tuple[ShortcutAudit, ...]
    training_notes: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values; what is not a number becomes null."""
        document: dict[str, Any] = as_json({"schema": SCHEMA, **asdict(self)})
        return document


def as_json(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Replace what JSON cannot hold: tuples, and floats that are not numbers."""
    if isinstance(value, dict):
        return {key: as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def evaluate(
    data: EvaluationSet,
    subject: Subject,
    baseline: Subject | None = None,
    settings: EvaluationSettings | None = None,
    say: Say = lambda _stage: None,
) -> Evaluation:
    """Measure an encoder, and beside it the one it is compared with; equal for equal input.

    Parameters
    ----------
    data
        The set.
    subject, baseline
        Vectors of the same pictures.
    settings
        Seed, resamples, probe.
    say
        Told what is being computed.

    """
    settings = settings or EvaluationSettings()
    measuring = _Measuring(data, settings)
    subjects = [subject, *([baseline] if baseline is not None else [])]
    say("retrieval")
    neighbors = [nearest(one.vectors, data) for one in subjects]
    retrieval, first_right = measuring.retrieval(neighbors)
    say("votes of the nearest neighbours")
    voted = [neighbor_shares(one, len(data.classes)) for one in neighbors]
    classifiers = [measuring.classifier(subjects, voted)]
    if settings.with_probe:
        say("linear probe")
        probed = [linear_probe(one.vectors, data, seed=settings.seed) for one in subjects]
        classifiers.append(measuring.classifier(subjects, probed))
    say("subgroups")
    draws = {"seed": settings.seed, "n_resamples": settings.n_resamples}
    by_group = subgroups(data, first_right, voted[0], **draws)
    say("shortcut audit")
    shortcuts, silent = shortcut_audits(subject.vectors, data, neighbors[0], **draws)
    return Evaluation(
        data_name=data.name,
        data_hash=data.data_hash,
        classes=data.classes,
        class_counts=_class_counts(data, measuring.sides),
        is_leave_one_out=data.is_leave_one_out,
        **_sizes(data),
        n_without_relevant=neighbors[0].n_without_relevant,
        encoder_name=subject.name,
        encoder_hash=subject.encoder_hash,
        dimension=subject.dimension,
        baseline_name=baseline.name if baseline is not None else None,
        baseline_hash=baseline.encoder_hash if baseline is not None else None,
        settings=settings,
        retrieval=retrieval,
        classifiers=tuple(classifiers),
        subgroups=by_group,
        shortcuts=shortcuts,
        training_notes=_seen_in_training(data, subjects),
        notes=(*data.notes, *silent),
    )


def _sizes(data: EvaluationSet) -> dict[str, Any]:
    """Return how many pictures and patients ask, and how many are asked for."""
    queries, library = data.patients[data.queries], data.patients[data.library]
    sizes = {"n_queries": len(queries), "n_library": len(library)}
    n_asking, n_asked = len(np.unique(queries)), len(np.unique(library))
    return {**sizes, "n_query_patients": n_asking, "n_library_patients": n_asked}


def _class_counts(
    data: EvaluationSet, sides: tuple[IntArray, IntArray]
) -> dict[str, tuple[int, int]]:
    """Return how many queries and how many library pictures each class has."""
    counts = [np.bincount(data.labels[side], minlength=len(data.classes)) for side in sides]
    return {name: (int(counts[0][i]), int(counts[1][i])) for i, name in enumerate(data.classes)}


def _seen_in_training(data: EvaluationSet, subjects: list[Subject]) -> tuple[str, ...]:
    """Return a sentence per encoder that was trained on one of the sources."""
    sources = set(data.attributes[SOURCE]) - {""}
    notes = []
    for subject in subjects:
        seen = sorted(s for s in sources if any(_is_same(s, one) for one in subject.trained_on))
        if seen:
            notes.append(
                f"{subject.name} was trained on pictures of {', '.join(seen)}: part of these may "
                "be among them, so that its figures are too good. Judge an encoder by pictures "
                "that it has not seen."
            )
    return tuple(notes)


def _is_same(one: str, other: str) -> bool:
    """Tell whether two spellings of a collection's name begin alike."""
    first, second = (re.sub(r"[^a-z0-9]", "", name.casefold()) for name in (one, other))
    return bool(first and second) and (first.startswith(second) or second.startswith(first))


class _Measuring:
    """One set and its draws of patients; every measure uses the same."""

    def __init__(self, data: EvaluationSet, settings: EvaluationSettings) -> None:
        self.data = data
        self.sides = (data.queries, data.library)
        self._seed = settings.seed
        self._draws = Resamples.of_patients(
            data.query_groups, seed=settings.seed, n_resamples=settings.n_resamples
        )

    def retrieval(self, neighbors: list[Neighbors]) -> tuple[tuple[Measure, ...], FloatArray]:
        """Return the table of retrieval, and P@1 of each query of the first encoder."""
        truth = self.data.query_labels
        ours, *theirs = (per_query(one, truth) for one in neighbors)
        majority = float((truth == self.data.class_shares.argmax()).mean())
        rows = [
            Measure(
                name,
                self._draws.mean(values),
                self._draws.mean(theirs[0][name]) if theirs else None,
                self._draws.mean(values - theirs[0][name]) if theirs else None,
                majority,
            )
            for name, values in ours.items()
        ]
        return tuple(rows), ours[PRECISION_AT_1]

    def classifier(self, subjects: list[Subject], said: list[ClassProbabilities]) -> Classifier:
        """Measure one kind of classifier of each encoder."""
        truth, classes = self.data.query_labels, self.data.classes
        confusion = confusion_of(truth, said[0].decisions, len(classes))
        n_owners = len(said) if len(classes) == 2 else 1
        curves = [
            _curve(subject.name, classes[c], truth == c, one.raw_probabilities[:, c])
            for subject, one in list(zip(subjects, said, strict=True))[:n_owners]
            for c in self._reported
            if (truth == c).any() and (truth != c).any()
        ]
        abstention = [abstention_curve(truth, one, self._draws) for one in said]
        return Classifier(
            method=said[0].method,
            measures=self._measures(said),
            confusion=tuple(tuple(int(n) for n in row) for row in confusion),
            curves=tuple(curves),
            calibrations=tuple(self._calibration(c, said[0]) for c in self._reported),
            abstention=abstention[0],
            baseline_abstention=abstention[1] if len(said) > 1 else None,
        )

    @property
    def _reported(self) -> range:
        """The classes that are looked at against the rest: of two, the second."""
        n = len(self.data.classes)
        return range(1, 2) if n == 2 else range(n)

    def _measures(self, said: list[ClassProbabilities]) -> tuple[Measure, ...]:
        (ours, drawn), *others = (
            classification_estimates(self.data.query_labels, one, self._draws) for one in said
        )
        majority = majority_measures(self.data)
        rows = []
        for name, estimate in ours.items():
            baseline = gain = None
            if others:
                baseline = others[0][0][name]
                apart = drawn[name] - others[0][1][name]
                gain = interval(estimate.value - baseline.value, apart)
            rows.append(Measure(name, estimate, baseline, gain, majority[name]))
        return tuple(rows)

    def _calibration(self, number: int, said: ClassProbabilities) -> Calibration:
        return calibration_of(
            self.data.classes[number],
            (self.data.query_labels == number).astype(np.intp),
            said.raw_probabilities[:, number],
            base_rate=float(self.data.class_shares[number]),
            resamples=self._draws,
            seed=self._seed,
        )


def _curve(owner: str, class_name: str, is_class: NDArray[np.bool_], column: FloatArray) -> Curve:
    false_rates, true_rates, _ = roc_curve(is_class, column)
    precisions, recalls, _ = precision_recall_curve(is_class, column)
    return Curve(
        owner,
        class_name,
        _thinned(false_rates),
        _thinned(true_rates),
        _thinned(recalls),
        _thinned(precisions),
        float(is_class.mean()),
    )


def _thinned(values: FloatArray) -> tuple[float, ...]:
    """Keep about 200 points, both ends among them."""
    if len(values) <= _CURVE_POINTS:
        return tuple(values.tolist())
    places = np.linspace(0, len(values) - 1, _CURVE_POINTS).round().astype(np.intp)
    return tuple(values[places].tolist())
