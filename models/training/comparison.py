"""Measures encoders side by side, within each source, on pictures that none of them has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.within_source import Estimate, RetrievalTask, measured
from models.training.rows import KERMANY, NIH, Row

_BOOTSTRAP_SEED = 7

# The classes that are measured, per source; a row with none of them is left out.
TASKS = {
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

    """

    rows: Sequence[Row]
    groups: NDArray[np.intp]
    library: NDArray[np.intp]
    queries: NDArray[np.intp]

    def task(self, source: str, library_name: str) -> tuple[RetrievalTask, list[NDArray[np.intp]]]:
        """Build the task of one source.

        Parameters
        ----------
        source
            One of `TASKS`.
        library_name
            One of `LIBRARIES`.

        Returns
        -------
        tuple
            The task, and the row indices of queries and library.

        """
        library = self.library if library_name == LIBRARIES[0] else self.queries
        sides = [
            np.array([i for i in side if _class_of(self.rows[i], source) is not None], np.intp)
            for side in (self.queries, library)
        ]
        classes = [
            np.array([_class_of(self.rows[i], source) for i in side], np.intp) for side in sides
        ]
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
            "source, library" to measure to estimate.

        """
        results: Measures = {}
        for source in TASKS:
            for library_name in LIBRARIES:
                task, (queries, library) = self.task(source, library_name)
                results[f"{source}, {library_name}"] = measured(
                    vectors[queries], vectors[library], task, seed=_BOOTSTRAP_SEED
                )
        return results


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


def _class_of(row: Row, source: str) -> int | None:
    """Return the class index of a row of this source."""
    if row.source != source:
        return None
    return next((n for n, name in enumerate(TASKS[source]) if name in row.labels), None)
