"""The approximate graph of a large generation: built, measured against exact search, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cds.adapters.usearch_index import EXACT_PARTITION, GraphParameters, UsearchIndex
from cds.domain.generation import Float32Array

MIN_RECALL = 0.98  # recall@10 against exact search, below which a graph is not used
TUNING_QUERIES = 200
# Several threads insert in another order each time; one thread and a wider graph find more.
ATTEMPTS = (
    GraphParameters(),
    GraphParameters(threads=1),
    GraphParameters(connectivity=32, expansion_add=256, threads=1),
)


@dataclass(frozen=True, slots=True)
class GraphOutcome:
    """What became of the graph.

    Attributes
    ----------
    expansion_search
        None if there is no graph: every query is answered exactly.
    recall_at_10
        Of the last graph that was built, also if it was refused; None if none was needed.

    """

    expansion_search: int | None = None
    recall_at_10: float | None = None

    @property
    def is_refused(self) -> bool:
        """Tell whether a graph was built and missed the target."""
        return self.expansion_search is None and self.recall_at_10 is not None


def build_graph(
    vectors: Float32Array,
    file: Path,
    *,
    exact_up_to: int = EXACT_PARTITION,
    min_recall: float = MIN_RECALL,
) -> GraphOutcome:
    """Build a graph that reaches the recall, and save it; try other parameters before giving up.

    Parameters
    ----------
    vectors
        Shape ``(n, d)``, float32.
    file
        Where the graph goes; nothing is written if there is none.
    exact_up_to
        Up to this many vectors exact search is fast enough.
    min_recall
        Recall@10 against exact search that a graph must reach to be used.

    """
    n = vectors.shape[0]
    if n <= exact_up_to:
        return GraphOutcome()
    rows = np.random.default_rng(0).choice(n, size=min(TUNING_QUERIES, n), replace=False)
    queries = vectors[np.sort(rows)]
    vectors = np.ascontiguousarray(vectors)
    recall = 0.0
    for parameters in ATTEMPTS:
        graph = UsearchIndex.build(vectors, parameters=parameters)
        tuning = graph.tune(queries)
        recall = tuning.recall_at_10
        if recall >= min_recall:
            graph.save(file)
            return GraphOutcome(tuning.expansion_search, recall)
    return GraphOutcome(None, recall)
