"""Small sets of labelled vectors for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.evaluation.dataset import ATTRIBUTES, EvaluationSet
from models.evaluation.evaluation import Subject


def unit_rows(vectors: NDArray) -> NDArray[np.float32]:
    """Scale rows to unit norm."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / norms, dtype=np.float32)


def a_set(
    labels: Sequence[int],
    *,
    groups: Sequence[int] | None = None,
    attributes: Mapping[str, Sequence[str]] | None = None,
    queries: Sequence[int] | None = None,
) -> EvaluationSet:
    """Every picture queried against all others, unless `queries` divides them."""
    n = len(labels)
    own = np.array(groups if groups is not None else range(n), dtype=np.intp)
    stated = {name: tuple((attributes or {}).get(name, [""] * n)) for name in ATTRIBUTES}
    asked = np.array(queries if queries is not None else range(n), dtype=np.intp)
    library = np.arange(n) if queries is None else np.setdiff1d(np.arange(n), asked)
    return EvaluationSet(
        name="made up",
        classes=tuple("abcdefg"[: max(labels) + 1]),
        labels=np.array(labels, dtype=np.intp),
        patients=own,
        groups=own,
        attributes=stated,
        queries=asked,
        library=library.astype(np.intp),
        data_hash="0" * 64,
    )


def a_subject(vectors: NDArray, name: str = "made-up-encoder") -> Subject:
    """An encoder whose vectors are given."""
    return Subject(name, "f" * 64, unit_rows(np.asarray(vectors)))


def clustered(
    labels: Sequence[int], *, spread: float, seed: int, dimension: int = 8
) -> NDArray[np.float32]:
    """Vectors around one axis per label."""
    noise = np.random.default_rng(seed).normal(scale=spread, size=(len(labels), dimension))
    return unit_rows(np.eye(dimension)[np.array(labels)] + noise)
