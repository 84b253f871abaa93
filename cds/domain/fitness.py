"""Whether a query may be compared at all (CLINICAL 1.5, QA-1)."""

from __future__ import annotations

from cds.domain.case import AgeGroup
from cds.domain.errors import CdsError, Reason
from cds.domain.film import FilmFacts
from cds.domain.key_slices import SLICED
from cds.domain.pixels import PixelFrame
from cds.domain.query import CaseQuery

SUPPORTED_MODALITIES = frozenset({"CR", "DX", "DR", "XR", "RG", "CT", "MR"})
MIN_SIDE_PX = 64  # below, a picture is a thumbnail or an icon, not a film


def check_fit(query: CaseQuery, film: FilmFacts) -> None:
    """Refuse what must not be compared.

    Raises
    ------
    CdsError
        AGE_UNSUPPORTED for a child; IMAGE_UNSUPPORTED for an unsupported
        modality or a thumbnail; MISSING_CONTEXT with neither picture nor record.

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
