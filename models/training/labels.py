"""One label space per source, so that no source can stand for a disease."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.training.rows import Row

# A label with fewer training pictures, with or without it, teaches the pictures and not the label.
MINIMUM_PICTURES = 8
WITHOUT = "without "


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """The labels of one source that have examples and counter-examples.

    Attributes
    ----------
    source
        The collection.
    labels
        Sorted; empty where all pictures of the source say the same.
    is_exclusive
        True if every training picture of the source has exactly one of at least two labels, so that
        the classes compete; else each label is a question of its own.

    """

    source: str
    labels: tuple[str, ...]
    is_exclusive: bool = False

    def indicator(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Return which labels the rows have: shape ``(n, len(labels))``, 0 or 1."""
        return np.array(
            [[float(label in row.labels) for label in self.labels] for row in rows],
            dtype=np.float32,
        ).reshape(len(rows), len(self.labels))


def label_spaces(rows: Sequence[Row]) -> dict[str, LabelSpace]:
    """Collect the label space of each source from training rows.

    Parameters
    ----------
    rows
        The training side only.

    Returns
    -------
    dict
        Source to label space.

    """
    spaces = {}
    for source in sorted({row.source for row in rows}):
        members = [row for row in rows if row.source == source]
        counts = Counter(label for row in members for label in row.labels)
        usable = sorted(
            label
            for label, n_pictures in counts.items()
            if MINIMUM_PICTURES <= n_pictures <= len(members) - MINIMUM_PICTURES
        )
        is_exclusive = len(usable) > 1 and all(
            len(row.labels.intersection(usable)) == 1 for row in members
        )
        spaces[source] = LabelSpace(source, tuple(usable), is_exclusive)
    return spaces


def measured_classes(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Choose the classes of each source by which retrieval within it is measured.

    The most frequent label, then each next one that no picture shares with a chosen one; a picture
    with none of them is left out of the measure. A source whose only label has counter-examples is
    measured by "has it or not".

    Parameters
    ----------
    rows
        All pictures.

    Returns
    -------
    dict
        Source to at least two classes; sources without two are absent. A class that is no label
        starts with `WITHOUT`.

    """
    chosen = {}
    for source, space in label_spaces(rows).items():
        members = [row for row in rows if row.source == source]
        counts = Counter(label for row in members for label in row.labels)
        classes: list[str] = []
        for label in sorted(space.labels, key=lambda name: (-counts[name], name)):
            having = [row for row in members if label in row.labels]
            if all(row.labels.isdisjoint(classes) for row in having):
                classes.append(label)
        if len(classes) == 1:
            classes.append(WITHOUT + classes[0])
        if classes:
            chosen[source] = tuple(sorted(classes))
    return chosen


def class_of(row: Row, classes: Sequence[str]) -> int | None:
    """Return the index of a row's class among those of its source, None where it has none."""
    for number, name in enumerate(classes):
        is_absence = name.startswith(WITHOUT)
        if (name.removeprefix(WITHOUT) in row.labels) is not is_absence:
            return number
    return None


def of_classes(
    rows: Sequence[Row], classes: Mapping[str, tuple[str, ...]]
) -> tuple[list[int], list[Row]]:
    """Keep the rows that have a class of their source, and of their labels only that class.

    Parameters
    ----------
    rows
        Of any sources.
    classes
        Source to its classes.

    Returns
    -------
    tuple
        Places of the kept rows, ascending, and the rows themselves.

    """
    kept, reduced = [], []
    for place, row in enumerate(rows):
        number = class_of(row, classes.get(row.source, ()))
        if number is not None:
            kept.append(place)
            label = classes[row.source][number]
            reduced.append(dataclasses.replace(row, labels=frozenset({label})))
    return kept, reduced


def rarity_weights(space: LabelSpace, rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return how often to draw each row of a source, so that its labels come equally often.

    Parameters
    ----------
    space
        Of the source.
    rows
        The training rows of the source.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``, positive, of mean 1: the mean over a row's labels of one by their count;
        rows without a label count as one more label.

    """
    indicator = space.indicator(rows)
    unlabelled = (indicator.sum(axis=1, keepdims=True) == 0.0).astype(np.float32)
    either = np.concatenate([indicator, unlabelled], axis=1).astype(np.float64)
    per_label = either / np.maximum(either.sum(axis=0), 1.0)
    weights = per_label.sum(axis=1) / either.sum(axis=1)
    scaled: NDArray[np.float64] = weights / weights.mean()
    return scaled
