"""Whether a picture is like the library's pictures of its kind at all, by its vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cds.domain.query import Eligibility
from cds.domain.similarity_limits import PictureGroup

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class GateClass:
    """Pictures with a centre of their own, and how far from it they may lie.

    Attributes
    ----------
    limit
        Mahalanobis distance; 2 % of the class's own pictures lie beyond, or of all of its kind,
        whichever is stricter. Each is measured by a gate that its patient took no part in.
    n_patients
        Whose pictures it was estimated on.

    """

    group: PictureGroup
    limit: float
    n_patients: int


@dataclass(frozen=True, slots=True)
class GateDistance:
    """How far a picture lies from the class that it is most like, beside that class's limit."""

    distance: float
    limit: float

    @property
    def share(self) -> float:
        """Return the distance as a share of the limit; above one the picture is unlike."""
        return self.distance / self.limit

    @property
    def is_beyond(self) -> bool:
        """Tell whether the picture is unlike all that it could be compared with."""
        return self.distance > self.limit


@dataclass(frozen=True, slots=True, eq=False)
class PictureGate:
    """The centres of the library's pictures and their common scatter.

    Attributes
    ----------
    means
        Shape ``(k, d)``, float32: one centre per class.
    precision
        Shape ``(d, d)``, float32: inverse of the covariance within the classes.

    """

    classes: tuple[GateClass, ...]
    means: Float32Array
    precision: Float32Array

    def distances(self, vectors: Float32Array) -> NDArray[np.float64]:
        """Return the Mahalanobis distance of each vector to each centre, shape ``(n, k)``."""
        return mahalanobis(vectors, self.means, self.precision)

    def nearest(self, vector: Float32Array, eligibility: Eligibility) -> GateDistance | None:
        """Return the distance to the class whose limit it uses least of; None without a class.

        Parameters
        ----------
        vector
            Shape ``(d,)``, unit norm.
        eligibility
            What the query says of its picture: only classes that it may belong to count.

        """
        fitting = [i for i, one in enumerate(self.classes) if one.group.may_hold(eligibility)]
        if not fitting:
            return None
        found = self.distances(vector[np.newaxis])[0]
        return min(
            (GateDistance(float(found[i]), self.classes[i].limit) for i in fitting),
            key=lambda one: one.share,
        )


def mahalanobis(
    vectors: Float32Array, means: Float32Array, precision: Float32Array
) -> NDArray[np.float64]:
    """Return the distances of shape ``(n, k)`` of `vectors` ``(n, d)`` from `means` ``(k, d)``.

    Examples
    --------
    >>> square = mahalanobis(np.array([[3.0, 4.0]]), np.zeros((1, 2)), np.eye(2))
    >>> square.tolist()
    [[5.0]]

    """
    columns = []
    for mean in means.astype(np.float64):
        away = vectors - mean
        squares = np.einsum("nd,nd->n", away @ precision, away)
        columns.append(np.sqrt(np.maximum(squares, 0.0)))
    return np.stack(columns, axis=1)
