"""Which places of two pictures their similarity comes from: an exact sum, no gradient, no guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from models.picture_geometry import PictureGeometry

FloatArray = NDArray[np.floating]
Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PairContributions:
    """What each place of each picture of a pair adds to their similarity.

    Attributes
    ----------
    query, case
        Shape ``(h, w)`` each, signed; the sum of either is `total`.
    total
        The cosine similarity of the two embeddings, or what of it lies beyond the expected (see
        `pair_contributions`).

    """

    query: Float64Array
    case: Float64Array
    total: float


@dataclass(frozen=True, slots=True)
class PlaceGrid:
    """Where in the encoder's square the places of a feature map look.

    Attributes
    ----------
    first_px
        Row (and column) on which the first place is centred, in pixels of the square.
    stride_px
        From one place to the next.

    """

    first_px: float
    stride_px: float

    def __post_init__(self) -> None:
        if self.stride_px <= 0.0:
            raise ValueError("stride_px is positive")

    @classmethod
    def even(cls, size_px: int, n_places: int) -> PlaceGrid:
        """Return the grid of an encoder whose places part its square evenly.

        Examples
        --------
        >>> PlaceGrid.even(224, 7)
        PlaceGrid(first_px=15.5, stride_px=32.0)

        """
        stride = size_px / n_places
        return cls(stride / 2 - 0.5, stride)


def place_vectors(feature_map: FloatArray, projection: FloatArray | None = None) -> Float64Array:
    """Part a picture's unit-norm embedding over its places.

    Parameters
    ----------
    feature_map
        Shape ``(d, h, w)``; its mean over the places is the embedding before it was scaled.
    projection
        Shape ``(k, d)``: a linear site adapter that is applied to the embedding, which is then
        scaled to unit norm again. None leaves the embedding as it is.

    Returns
    -------
    numpy.ndarray
        Shape ``(k, h, w)`` (``d`` for ``k`` without a projection); the sum over the places is the
        embedding, of unit norm.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the mean is zero and has no direction.

    """
    if feature_map.ndim != 3:
        raise ValueError("a feature map has three axes")
    places = np.asarray(feature_map, dtype=np.float64)
    if projection is not None:
        if projection.ndim != 2 or projection.shape[1] != places.shape[0]:
            raise ValueError("the projection fits the feature map: (k, d)")
        places = np.tensordot(np.asarray(projection, dtype=np.float64), places, axes=1)
    length = float(np.linalg.norm(places.sum(axis=(1, 2))))
    if not length > 0.0:
        raise ValueError("a feature map whose mean is zero has no direction")
    return places / length


def pair_contributions(
    query: Float64Array, case: Float64Array, *, expected: FloatArray | None = None
) -> PairContributions:
    """Part the similarity of two pictures over the places of each.

    Parameters
    ----------
    query, case
        `place_vectors` of the two, shapes ``(k, h, w)``; the grids may differ.
    expected
        Shape ``(k,)``: the mean embedding of a library. What any two of its pictures have in common
        is then left out on both sides: the total is the inner product of the two embeddings after
        the mean was subtracted from each. None: the total is the cosine similarity itself.

    Returns
    -------
    PairContributions
        Exact up to rounding.

    Raises
    ------
    ValueError
        If the vectors differ in length.

    """
    if query.shape[0] != case.shape[0]:
        raise ValueError("the two pictures come from one encoder")
    if expected is not None:
        query, case = _beyond(query, expected), _beyond(case, expected)
    query_vector, case_vector = query.sum(axis=(1, 2)), case.sum(axis=(1, 2))
    return PairContributions(
        query=np.tensordot(case_vector, query, axes=1),
        case=np.tensordot(query_vector, case, axes=1),
        total=float(query_vector @ case_vector),
    )


def map_on_picture(
    contributions: Float64Array, geometry: PictureGeometry, grid: PlaceGrid
) -> Float64Array:
    """Lay the contributions of the places over the picture as it was given.

    Bilinear between the places, constant beyond the outermost. Trimming, resize and padding are
    undone by `geometry`.

    Parameters
    ----------
    contributions
        Shape ``(h, w)``.
    geometry
        Of this picture.
    grid
        Where the places look.

    Returns
    -------
    numpy.ndarray
        Shape ``(rows, columns)`` of the picture; not a number where it was trimmed.

    """
    rows, columns = geometry.square_places()
    down = _bilinear_weights(rows, contributions.shape[0], grid)
    across = _bilinear_weights(columns, contributions.shape[1], grid)
    return down @ contributions @ across.T


def _beyond(places: Float64Array, expected: FloatArray) -> Float64Array:
    """Subtract an equal part of the expected embedding from each place."""
    share = np.asarray(expected, dtype=np.float64) / (places.shape[1] * places.shape[2])
    return places - share[:, None, None]


def _bilinear_weights(places_px: Float64Array, n_places: int, grid: PlaceGrid) -> Float64Array:
    """Return ``(n_pixels, n_places)`` weights, each row summing to 1 or not a number."""
    at = np.clip((places_px - grid.first_px) / grid.stride_px, 0.0, n_places - 1.0)
    distance = np.abs(at[:, None] - np.arange(n_places)[None, :])
    return np.where(np.isnan(distance), np.nan, np.clip(1.0 - distance, 0.0, None))
