"""Which series and instances of a study are worth fetching: two films or one slice, never all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cds.domain.case import ViewGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cds.domain.pixels import PixelFrame

FILMS = frozenset({"CR", "DX", "DR", "RG", "XR"})
NOT_PICTURES = frozenset(
    {"SR", "PR", "KO", "SEG", "DOC", "REG", "RTSTRUCT", "RTPLAN", "RTDOSE", "ECG", "AU", "FID"}
)
MAX_FILMS = 2
MAX_FILM_SERIES = 3
FRONTAL = frozenset({ViewGroup.PA, ViewGroup.AP, ViewGroup.FRONTAL})
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame kinds below it
_PLANNING = re.compile(
    r"scout|locali[sz]er|topogram|surview|survey|calibration|dose", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    """What a search says about a series."""

    series_instance_uid: str
    modality: str | None = None
    description: str | None = None
    series_number: int | None = None
    n_instances: int | None = None


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """What a search says about an instance.

    Attributes
    ----------
    position_mm
        Along the normal of the slices; None where it is not known.

    """

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str | None = None
    instance_number: int | None = None
    view_position: str | None = None
    image_type: tuple[str, ...] = ()
    position_mm: float | None = None


def is_film(series: SeriesRecord) -> bool:
    """Tell whether a series holds projection radiographs."""
    return series.modality in FILMS


def chosen_series(series: Sequence[SeriesRecord], modality: str | None) -> tuple[SeriesRecord, ...]:
    """Return the series to look into.

    Parameters
    ----------
    series
        Of one study.
    modality
        What the record calls the study; decides between kinds where the study has several.

    Returns
    -------
    tuple of SeriesRecord
        A few series of films (each view may be one of its own), or the largest series of slices
        that is no planning view. Empty if the study holds no pictures.

    """
    pictures = [s for s in series if s.modality not in NOT_PICTURES]
    wanted = FILMS if modality in FILMS else frozenset({modality})
    of_kind = [s for s in pictures if s.modality in wanted] or pictures
    films = [s for s in of_kind if is_film(s)]
    if films:
        films.sort(key=lambda s: (s.series_number is None, s.series_number or 0))
        return tuple(films[:MAX_FILM_SERIES])
    diagnostic = [s for s in of_kind if not _PLANNING.search(s.description or "")] or of_kind
    diagnostic.sort(key=lambda s: (-(s.n_instances or 0), s.series_number or 0))
    return tuple(diagnostic[:1])


def chosen_instances(
    instances: Sequence[InstanceRecord], *, of_films: bool
) -> tuple[InstanceRecord, ...]:
    """Return the instances to fetch: at most two films, frontal first, or the middle slice.

    Secondary captures and planning views are left out: screenshots are no picture of the patient.

    Parameters
    ----------
    instances
        Of the chosen series.
    of_films
        Whether they are projection radiographs.

    """
    usable = [i for i in instances if not _is_secondary(i) and "LOCALIZER" not in i.image_type]
    if not usable:
        return ()
    if of_films:
        not_lateral = [i for i in usable if _view(i) is not ViewGroup.LATERAL] or usable
        not_lateral.sort(key=lambda i: (_view(i) not in FRONTAL, i.instance_number or 0))
        n_frontal = sum(_view(i) in FRONTAL for i in not_lateral)
        return tuple(not_lateral[: min(MAX_FILMS, n_frontal or MAX_FILMS)])
    if all(i.position_mm is not None for i in usable):
        usable.sort(key=lambda i: i.position_mm or 0.0)
    else:
        usable.sort(key=lambda i: (i.instance_number or 0, i.sop_instance_uid))
    return (usable[len(usable) // 2],)


def frontal_first(frames: Sequence[PixelFrame]) -> tuple[PixelFrame, ...]:
    """Return the frames with the frontal views in front, as the objects themselves name them."""

    def is_behind(frame: PixelFrame) -> bool:
        return ViewGroup.from_view_position(frame.view_position) not in FRONTAL

    return tuple(sorted(frames, key=is_behind))


def position_along_normal(
    position: Sequence[float] | None, orientation: Sequence[float] | None
) -> float | None:
    """Return where a slice lies along its normal, in millimetres.

    Parameters
    ----------
    position
        Image Position (Patient) (0020,0032), ``(x, y, z)`` in millimetres.
    orientation
        Image Orientation (Patient) (0020,0037), row then column direction.

    References
    ----------
    DICOM PS3.3 C.7.6.2.1.1.

    Examples
    --------
    >>> position_along_normal((0, 0, 12.5), (1, 0, 0, 0, 1, 0))
    12.5

    """
    if position is None or orientation is None or len(position) != 3 or len(orientation) != 6:
        return None
    normal = np.cross(np.asarray(orientation[:3], float), np.asarray(orientation[3:], float))
    along = float(np.dot(np.asarray(position, float), normal))
    return along if np.isfinite(along) else None


def _view(instance: InstanceRecord) -> ViewGroup:
    return ViewGroup.from_view_position(instance.view_position)


def _is_secondary(instance: InstanceRecord) -> bool:
    sop_class = instance.sop_class_uid or ""
    return sop_class == SECONDARY_CAPTURE or sop_class.startswith(f"{SECONDARY_CAPTURE}.")
