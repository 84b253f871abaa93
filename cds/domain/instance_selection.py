"""Which series and instances of a study are worth fetching: two films or key slices, never all."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cds.domain.case import ViewGroup
from cds.domain.key_slices import SlicePlace, SliceRecord, key_slices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cds.domain.pixels import PixelFrame

FILMS = frozenset({"CR", "DX", "DR", "RG", "XR"})
NOT_PICTURES = frozenset(
    {"SR", "PR", "KO", "SEG", "DOC", "REG", "RTSTRUCT", "RTPLAN", "RTDOSE", "ECG", "AU", "FID"}
)
MAX_FILMS = 2
MAX_FILM_SERIES = 3
MAX_SLICE_SERIES = 3  # looked into, the best first, until one holds slices to compare
FRONTAL = frozenset({ViewGroup.PA, ViewGroup.AP, ViewGroup.FRONTAL})
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame kinds below it
_PLANNING = re.compile(
    r"scout|locali[sz]er|topogram|surview|survey|calibration|dose", re.IGNORECASE
)
_AXIAL = re.compile(r"\b(?:ax|axial|tra|trans|transversal|transverse)\b", re.IGNORECASE)
_OTHER_PLANE = re.compile(r"\b(?:cor|coronal|sag|sagittal|obl|oblique)\b", re.IGNORECASE)
# Values of Image Type that name what was computed from slices, not measured (PS3.3 C.7.6.1.1.2).
_COMPUTED = frozenset(
    {"LOCALIZER", "PROJECTION IMAGE", "MIP", "MPR", "REFORMATTED", "SCREEN SAVE", "CSA REPORT"}
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
    position, orientation
        Image Position and Image Orientation (Patient); None where not given.
    n_frames
        Of a multi-frame object.
    place
        Which slice of how many this is, once it was chosen.

    """

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str | None = None
    instance_number: int | None = None
    view_position: str | None = None
    image_type: tuple[str, ...] = ()
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    n_frames: int | None = None
    place: SlicePlace | None = None


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
        A few series of films (each view may be one of its own), all to be looked into; or a few of
        slices, to be looked into one after the other: no planning view unless there is nothing
        else, axial before coronal and sagittal by what the description says, then the one with most
        slices. Contrast does not count. Empty if the study holds no pictures.

    """
    pictures = [s for s in series if s.modality not in NOT_PICTURES]
    wanted = FILMS if modality in FILMS else frozenset({modality})
    of_kind = [s for s in pictures if s.modality in wanted] or pictures
    films = [s for s in of_kind if is_film(s)]
    if films:
        films.sort(key=lambda s: (s.series_number is None, s.series_number or 0))
        return tuple(films[:MAX_FILM_SERIES])
    of_kind = [s for s in of_kind if not _PLANNING.search(s.description or "")] or of_kind
    of_kind.sort(key=_slices_first)
    return tuple(of_kind[:MAX_SLICE_SERIES])


def wanted_instances(
    series: Sequence[SeriesRecord],
    modality: str | None,
    instances_of: Callable[[SeriesRecord], Sequence[InstanceRecord]],
) -> tuple[InstanceRecord, ...]:
    """Return the instances of a study to fetch; the one rule for queries, folders and imports.

    Parameters
    ----------
    series
        Of one study.
    modality
        What the record calls the study.
    instances_of
        Returns the instances of a series; asked only for series that may be chosen.

    Returns
    -------
    tuple of InstanceRecord
        At most two films, frontal first; or at most five key slices of one series, the middle one
        first, each with its place. Empty if there is nothing to compare.

    """
    candidates = chosen_series(series, modality)
    if any(map(is_film, candidates)):
        films = [i for one in candidates for i in instances_of(one)]
        return chosen_instances(films, of_films=True)
    computed: tuple[InstanceRecord, ...] = ()
    for one in candidates:
        instances = [i for i in instances_of(one) if not _is_secondary(i)]
        measured = [i for i in instances if i.image_type[:1] != ("DERIVED",)]
        if chosen := chosen_instances(measured, of_films=False):
            return chosen
        computed = computed or chosen_instances(instances, of_films=False)
    return computed


def chosen_instances(
    instances: Sequence[InstanceRecord], *, of_films: bool
) -> tuple[InstanceRecord, ...]:
    """Return the instances of the chosen series to fetch: two films at most, or key slices.

    Secondary captures and planning views are left out: screenshots are no picture of the patient.

    Parameters
    ----------
    instances
        Of the chosen series.
    of_films
        Whether they are projection radiographs.

    """
    usable = [i for i in instances if not _is_secondary(i) and "LOCALIZER" not in i.image_type]
    return _frontal_films(usable) if of_films else _key_slices(usable)


def _frontal_films(usable: Sequence[InstanceRecord]) -> tuple[InstanceRecord, ...]:
    not_lateral = sorted(
        [i for i in usable if _view(i) is not ViewGroup.LATERAL] or usable,
        key=lambda i: (_view(i) not in FRONTAL, i.instance_number or 0),
    )
    n_frontal = sum(_view(i) in FRONTAL for i in not_lateral)
    return tuple(not_lateral[: min(MAX_FILMS, n_frontal or MAX_FILMS)])


def _key_slices(slices: Sequence[InstanceRecord]) -> tuple[InstanceRecord, ...]:
    """Return the key slices of a series, the middle one first.

    A multi-frame object holds a series of its own: the one with most frames is taken, and its key
    frames are chosen when it is decoded.
    """
    usable = [i for i in slices if not _COMPUTED & set(i.image_type)]
    stacks = [i for i in usable if (i.n_frames or 1) > 1]
    if stacks:
        stacks.sort(key=lambda i: (-(i.n_frames or 1), i.instance_number or 0, i.sop_instance_uid))
        return (stacks[0],)
    by_uid = {i.sop_instance_uid: i for i in usable}
    records = [
        SliceRecord(uid, i.instance_number, i.position, i.orientation) for uid, i in by_uid.items()
    ]
    return tuple(replace(by_uid[s.key], place=s.place) for s in key_slices(records))


def frontal_first(frames: Sequence[PixelFrame]) -> tuple[PixelFrame, ...]:
    """Return the frames with the frontal views in front, as the objects themselves name them."""

    def is_behind(frame: PixelFrame) -> bool:
        return ViewGroup.from_view_position(frame.view_position) not in FRONTAL

    return tuple(sorted(frames, key=is_behind))


def placed(frames: Sequence[PixelFrame], place: SlicePlace | None) -> tuple[PixelFrame, ...]:
    """Return the frames of one instance with its place in its series; a stack's have their own."""
    return tuple(
        frame if place is None or frame.slice_place else replace(frame, slice_place=place)
        for frame in frames
    )


def _slices_first(series: SeriesRecord) -> tuple[int, int, int, str]:
    said = series.description or ""
    plane = 0 if _AXIAL.search(said) else 2 if _OTHER_PLANE.search(said) else 1
    return plane, -(series.n_instances or 0), series.series_number or 0, series.series_instance_uid


def _view(instance: InstanceRecord) -> ViewGroup:
    return ViewGroup.from_view_position(instance.view_position)


def _is_secondary(instance: InstanceRecord) -> bool:
    sop_class = instance.sop_class_uid or ""
    return sop_class == SECONDARY_CAPTURE or sop_class.startswith(f"{SECONDARY_CAPTURE}.")
