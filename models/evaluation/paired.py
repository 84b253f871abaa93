"""Two encoders on the same queries: differences with intervals by patient."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.evaluation.dataset import EvaluationSet
from models.evaluation.evaluation import (
    EvaluationSettings,
    Measure,
    Say,
    Subject,
    as_json,
    evaluate,
)
from models.evaluation.retrieval import nearest

SCHEMA = "precedent.comparison/1"


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """What encoder A does better or worse than encoder B, query by query.

    Attributes
    ----------
    measures
        Method to rows; ``estimate`` is A's, ``baseline`` B's, ``gain`` A minus B.
    n_only_a, n_only_b
        Queries whose first neighbour is right with one encoder only.

    """

    data_name: str
    data_hash: str
    classes: tuple[str, ...]
    n_queries: int
    n_query_patients: int
    a_name: str
    a_hash: str
    b_name: str
    b_hash: str
    settings: EvaluationSettings
    measures: dict[str, tuple[Measure, ...]]
    n_only_a: int
    n_only_b: int
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Say in words what P@1 says."""
        gain = self.measures["retrieval"][0].gain
        counts = f"right with A only {self.n_only_a}, with B only {self.n_only_b} queries"
        if gain is None or gain.low <= 0.0 <= gain.high:
            return f"P@1 does not tell A and B apart on these pictures ({counts})."
        better = "A" if gain.value > 0.0 else "B"
        return f"The first neighbour is right more often with {better} ({counts})."

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        document: dict[str, Any] = as_json(
            {"schema": SCHEMA, **asdict(self), "verdict": self.verdict}
        )
        return document


def compared(
    data: EvaluationSet,
    a: Subject,
    b: Subject,
    settings: EvaluationSettings | None = None,
    say: Say = lambda _stage: None,
) -> PairedComparison:
    """Compare two encoders.

    Parameters
    ----------
    data
        The set.
    a, b
        Vectors of the same pictures.
    settings, say
        As for `evaluate`.

    Returns
    -------
    PairedComparison
        Differences are A minus B, over the same draws of patients.

    """
    found = evaluate(data, a, b, settings, say)
    right = [nearest(one.vectors, data).relevant[:, 0] for one in (a, b)]
    tables = {one.method: one.measures for one in found.classifiers}
    return PairedComparison(
        data_name=found.data_name,
        data_hash=found.data_hash,
        classes=found.classes,
        n_queries=found.n_queries,
        n_query_patients=found.n_query_patients,
        a_name=a.name,
        a_hash=a.encoder_hash,
        b_name=b.name,
        b_hash=b.encoder_hash,
        settings=found.settings,
        measures={"retrieval": found.retrieval, **tables},
        n_only_a=int(np.sum(right[0] & ~right[1])),
        n_only_b=int(np.sum(right[1] & ~right[0])),
        notes=(*found.training_notes, *found.notes),
    )
