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
        `place_vectors` of the two, shapes ``(k, h, w)``.
    expected
        Shape ``(k, h, w)``: the mean of `place_vectors` over pictures of a library. What any two
        of them have in common at a place is then left out on both sides: the total is the inner
        product of the two embeddings after the library's mean embedding was subtracted from each.
        None: the total is the cosine similarity itself.

    Returns
    -------
    PairContributions
        Exact up to rounding.

    Raises
    ------
    ValueError
        If the shapes differ.

    """
    if query.shape != case.shape or (expected is not None and expected.shape != query.shape):
        raise ValueError("the place vectors come from one encoder")
    if expected is not None:
        query, case = query - expected, case - expected
    query_vector, case_vector = query.sum(axis=(1, 2)), case.sum(axis=(1, 2))
    return PairContributions(
        query=np.tensordot(case_vector, query, axes=1),
        case=np.tensordot(query_vector, case, axes=1),
        total=float(query_vector @ case_vector),
    )


def map_on_picture(
    contributions: Float64Array,
    geometry: PictureGeometry,
    shape: tuple[int, int] | None = None,
) -> Float64Array:
    """Lay the contributions of the places over the picture as it was given.

    The places part the encoder's square evenly. Bilinear between their centres, constant beyond the
    outermost. Trimming, resize and padding are undone by `geometry`.

    Parameters
    ----------
    contributions
        Shape ``(h, w)``.
    geometry
        Of this picture.
    shape
        Rows and columns of a resized copy, if the map is to lie on that.

    Returns
    -------
    numpy.ndarray
        Shape ``(rows, columns)`` of the picture or its copy; not a number where it was trimmed.

    """
    rows, columns = geometry.square_places(shape)
    down, across = (
        _bilinear_weights(places_px, n_places, geometry.size_px / n_places)
        for places_px, n_places in zip((rows, columns), contributions.shape, strict=True)
    )
    on_picture: Float64Array = down @ contributions @ across.T
    return on_picture


def hottest(heat: Float64Array, share: float) -> NDArray[np.bool_]:
    """Choose the pixels with the highest values.

    Parameters
    ----------
    heat
        Shape ``(rows, columns)``; not a number counts as outside.
    share
        Of the pixels that are inside, in (0, 1].

    Returns
    -------
    numpy.ndarray
        Shape of `heat`, true for exactly that share, rounded; ties by position.

    Examples
    --------
    >>> hottest(np.array([[1.0, 3.0], [2.0, np.nan]]), 1 / 3)
    array([[False,  True],
           [False, False]])

    """
    inside = int(np.isfinite(heat).sum())
    flat = np.where(np.isfinite(heat), heat, -np.inf).ravel()
    chosen = np.zeros(flat.size, dtype=bool)
    chosen[np.argsort(-flat, kind="stable")[: round(share * inside)]] = True
    return chosen.reshape(heat.shape)


def _bilinear_weights(places_px: Float64Array, n_places: int, stride_px: float) -> Float64Array:
    """Return ``(n_pixels, n_places)`` weights, each row summing to 1 or not a number."""
    at = np.clip((places_px + 0.5) / stride_px - 0.5, 0.0, n_places - 1.0)
    distance = np.abs(at[:, None] - np.arange(n_places)[None, :])
    return np.clip(1.0 - distance, 0.0, None)
