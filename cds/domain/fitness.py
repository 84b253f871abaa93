"""Whether a query may be compared at all (CLINICAL 1.5, QA-1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cds.domain.case import AgeGroup
from cds.domain.errors import CdsError, Reason
from cds.domain.film import FilmFacts
from cds.domain.key_slices import SLICED
from cds.domain.pixels import PixelFrame
from cds.domain.query import CaseQuery

SUPPORTED_MODALITIES = frozenset({"CR", "DX", "DR", "XR", "RG", "CT", "MR"})
NOISE = "The picture holds noise, not a film."
# Of 400 films of five collections, 80 of each, the lowest is .937; white noise has 0.
NOISE_CORRELATION = 0.5
CHECKED_PX = 512
MIN_SIDE_PX = 64  # below, a picture is a thumbnail or an icon, not a film


def check_fit(query: CaseQuery, film: FilmFacts) -> None:
    """Refuse what must not be compared.

    Raises
    ------
    CdsError
        AGE_UNSUPPORTED for a child; IMAGE_UNSUPPORTED for an unsupported modality or a thumbnail;
        MISSING_CONTEXT with neither picture nor record.

    """
    if not query.frames and not film.used:
        raise CdsError(
            Reason.MISSING_CONTEXT, "There is neither a picture nor a record to compare."
        )
    if AgeGroup.from_age_years(film.facts.age_years) is AgeGroup.CHILD and query.frames:
        raise CdsError(
            Reason.AGE_UNSUPPORTED, "Patients under 18: the library holds too few of that age."
        )
    for frame in query.frames[:1]:
        if frame.modality is not None and frame.modality not in SUPPORTED_MODALITIES:
            raise CdsError(Reason.IMAGE_UNSUPPORTED, "Image type not supported.")
        if min(frame.pixels.shape) < MIN_SIDE_PX:
            raise CdsError(Reason.IMAGE_UNSUPPORTED, "The picture is too small to compare.")


def check_fit_and_noise(query: CaseQuery, film: FilmFacts) -> None:
    """Refuse what must not be compared, and noise.

    Raises
    ------
    CdsError
        As `check_fit` and `refuse_noise`.

    """
    check_fit(query, film)
    for frame in query.frames[:1]:
        refuse_noise(frame)


def refuse_noise(frame: PixelFrame) -> None:
    """Refuse a picture whose pixels do not agree with their neighbours.

    Raises
    ------
    CdsError
        IMAGE_UNREADABLE.

    """
    if neighbor_correlation(frame.pixels) < NOISE_CORRELATION:
        raise CdsError(Reason.IMAGE_UNREADABLE, NOISE)


def neighbor_correlation(pixels: NDArray[np.float32]) -> float:
    """Return how far pixels agree with their neighbours, in [-1, 1]; 1 for one flat tone.

    Parameters
    ----------
    pixels
        Shape ``(rows, columns)``; at most the middle 512 x 512 are looked at.

    """
    rows, columns = pixels.shape
    top, left = max(0, (rows - CHECKED_PX) // 2), max(0, (columns - CHECKED_PX) // 2)
    middle = pixels[top : top + CHECKED_PX, left : left + CHECKED_PX].astype(np.float64)
    middle = middle - middle.mean()
    power = float(np.mean(middle**2))
    if power == 0.0:
        return 1.0
    across = float(np.mean(middle[:, 1:] * middle[:, :-1]))
    down = float(np.mean(middle[1:] * middle[:-1]))
    return (across + down) / (2.0 * power)


def compared_frames(query: CaseQuery) -> tuple[PixelFrame, ...]:
    """Return the frames that the answer is computed from: one film, or the key slices of CT or MR.

    Of the slices after the first, those that show nothing (one flat tone), are thumbnails or come
    from another kind of object are left out; the answer names those that count.
    """
    key, others = query.frames[:1], query.frames[1:]
    if not is_sliced(query):
        return key
    return key + tuple(
        frame
        for frame in others
        if frame.modality == key[0].modality
        and frame.slice_place is not None
        and min(frame.pixels.shape) >= MIN_SIDE_PX
        and float(frame.pixels.max()) > float(frame.pixels.min())
    )


def is_sliced(query: CaseQuery) -> bool:
    """Tell whether the pictures are slices: of what lies between them nothing can be said."""
    return bool(query.frames) and query.frames[0].modality in SLICED
