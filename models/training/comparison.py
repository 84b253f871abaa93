"""Measures encoders side by side, within each source, on pictures that none of them has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.evaluation.within_source import (
    Estimate,
    RetrievalTask,
    measured,
    neighbor_auroc,
    precision_at,
    ranked,
)
from models.training.labels import class_of
from models.training.rows import KERMANY, NIH, Row

_BOOTSTRAP_SEED = 7

# The classes by which the permissive sources are measured; a row with none of them is left out.
# `measured_classes` finds the same ones from their rows.
TASKS: Mapping[str, tuple[str, ...]] = {
    NIH: ("No Finding", "Pneumonia"),
    KERMANY: ("No Finding", "Bacterial pneumonia", "Viral pneumonia"),
}
# Against the training pictures as library, and against the other held-out ones: the second is what
# a hospital sees, whose own library was never trained on.
LIBRARIES = ("training library", "unseen library")

Measures = dict[str, dict[str, Estimate]]


class WorseThanFrozenError(ValueError):
    """Training made retrieval within a source worse than the frozen start."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What is held out, and against what it is searched.

    Attributes
    ----------
    rows
        All pictures.
    groups
        Shape ``(n,)``; patient and near-duplicate group of each.
    library, queries
        Indices of the training side and of the held-out side.
    classes
        Source to the classes by which it is measured.

    """

    rows: Sequence[Row]
    groups: NDArray[np.intp]
    library: NDArray[np.intp]
    queries: NDArray[np.intp]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: TASKS)

    def task(self, source: str, library_name: str) -> tuple[RetrievalTask, list[NDArray[np.intp]]]:
        """Build the task of one source.

        Parameters
        ----------
        source
            One of `classes`.
        library_name
            One of `LIBRARIES`.

        Returns
        -------
        tuple
            The task, and the row indices of queries and library.

        """
        library = self.library if library_name == LIBRARIES[0] else self.queries
        sides = [
            np.array([i for i in side if self._class(i, source) is not None], np.intp)
            for side in (self.queries, library)
        ]
        classes = [np.array([self._class(i, source) for i in side], np.intp) for side in sides]
        task = RetrievalTask(classes[0], classes[1], self.groups[sides[0]], self.groups[sides[1]])
        return task, sides

    def measures(self, vectors: NDArray[np.float32]) -> Measures:
        """Measure one encoder.

        Parameters
        ----------
        vectors
            Shape ``(n, d)``, unit norm, one per picture.

        Returns
        -------
        dict
            "source, library" to measure to estimate; a source with fewer than two classes among
            the queries is absent.

        """
        results: Measures = {}
        for source in self.classes:
            for library_name in LIBRARIES:
                task, (queries, library) = self.task(source, library_name)
                if len(np.unique(task.query_classes)) < 2 or not len(library):
                    continue
                results[f"{source}, {library_name}"] = measured(
                    vectors[queries], vectors[library], task, seed=_BOOTSTRAP_SEED
                )
        return results

    def value(self, vectors: NDArray[np.float32], measure: str) -> float:
        """Return one figure without an interval, for early stopping.

        Parameters
        ----------
        vectors
            Shape ``(len(queries), d)``, unit norm: of the held-out side only, which is searched in
            itself.
        measure
            ``P@5`` or ``AUROC`` (of the vote of the 15 nearest).

        Returns
        -------
        float
            The mean over the sources; not a number where none can be measured.

        """
        values = []
        place_of = {int(row): place for place, row in enumerate(self.queries)}
        for source in self.classes:
            task, (queries, _) = self.task(source, LIBRARIES[1])
            if len(np.unique(task.query_classes)) < 2:
                continue
            own = vectors[[place_of[int(row)] for row in queries]]
            ranking = ranked(own, own, task)
            if measure == "AUROC":
                values.append(neighbor_auroc(ranking, task))
            else:
                values.append(float(precision_at(ranking, task, cutoff=5).mean()))
        return float(np.mean(values)) if values else float("nan")

    def _class(self, index: int, source: str) -> int | None:
        """Return the class of a row if it comes from this source and has one."""
        row = self.rows[int(index)]
        return class_of(row, self.classes[source]) if row.source == source else None


def refuse_loser(trained: Measures, frozen: Measures) -> None:
    """Raise where training made the first cases of a ranking worse.

    Parameters
    ----------
    trained, frozen
        Measured on the same comparison.

    Raises
    ------
    WorseThanFrozenError
        Naming the measure and the source.

    """
    for place, values in trained.items():
        for name in ("P@1", "P@5"):
            if values[name].value < frozen[place][name].value:
                raise WorseThanFrozenError(f"{name} within {place} is below the frozen start")
