"""One label space per source, so that no source can stand for a disease."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.training.rows import Row

# A label with fewer training pictures, with or without it, teaches the pictures and not the label.
MINIMUM_PICTURES = 8


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """The labels of one source that have examples and counter-examples.

    Attributes
    ----------
    source
        The collection.
    labels
        Sorted; empty where all pictures of the source say the same.

    """

    source: str
    labels: tuple[str, ...]

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
        spaces[source] = LabelSpace(source, tuple(usable))
    return spaces
