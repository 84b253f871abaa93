"""Labelled pictures of any origin, and the set of them that encoders are measured on."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cds.domain.case import ADULT_AGE_YEARS, ViewGroup
from cds.domain.errors import CdsError, Reason
from cds.domain.grouping import joined_groups
from cds.domain.pixels import PixelFrame
from models.picture_groups import near_duplicate_pairs

IntArray = NDArray[np.intp]

SOURCE, VIEW, SEX, AGE_BAND = "source", "view", "sex", "age band"
ATTRIBUTES = (SOURCE, VIEW, SEX, AGE_BAND)
MINIMUM_PER_CLASS = 10
_AGE_BANDS = ((ADULT_AGE_YEARS, "under 18"), (40, "18 to 39"), (65, "40 to 64"))
_OLDEST_BAND = "65 and over"
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female"}
# What a healthy picture is called, so that it comes first as the class to compare with.
_HEALTHY = frozenset({"no finding", "no findings", "normal", "healthy", "no tumour"})


class Side(StrEnum):
    """What a picture is used for."""

    BOTH = "query and library"
    QUERY = "query"
    LIBRARY = "library"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LabelledPicture:
    """One picture with what its source says of it.

    Attributes
    ----------
    labels
        As the source words them, the most important first; empty where it says nothing.
    patient
        Two pictures with the same value never meet as query and neighbour.
    read
        Decodes the picture; raises CdsError if it cannot.
    attributes
        Values of `ATTRIBUTES`; one that is not stated is absent.
    duplicate_group
        The source's own group of copies, where it names one.

    """

    labels: tuple[str, ...]
    patient: str
    read: Callable[[], PixelFrame]
    attributes: Mapping[str, str] = field(default_factory=dict)
    side: Side = Side.BOTH
    duplicate_group: str | None = None

    def __repr__(self) -> str:
        return "LabelledPicture(<redacted>)"


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationSet:
    """Pictures with classes, ready to be measured; nothing in it names a patient.

    Attributes
    ----------
    name
        What the report calls the data.
    classes
        Names; with two, the second is the one that sensitivity and AUROC are about.
    labels
        Shape ``(n,)``, class index from 0.
    patients
        Shape ``(n,)``, a number per patient: what is counted.
    groups
        Shape ``(n,)``, patients joined with near-duplicates: what never meets itself and is
        resampled whole.
    attributes
        Attribute to one value per picture, empty text where not stated.
    queries, library
        0-based indices of the pictures on either side; equal where each is queried in turn.
    data_hash
        SHA-256 (hex) over contents, classes, groups and sides.
    notes
        Sentences on what was left out and why.

    """

    name: str
    classes: tuple[str, ...]
    labels: IntArray
    patients: IntArray
    groups: IntArray
    attributes: Mapping[str, tuple[str, ...]]
    queries: IntArray
    library: IntArray
    data_hash: str
    notes: tuple[str, ...] = ()

    @property
    def query_labels(self) -> IntArray:
        """Class of each query, shape ``(q,)``."""
        return self.labels[self.queries]

    @property
    def library_labels(self) -> IntArray:
        """Class of each library picture, shape ``(n_library,)``."""
        return self.labels[self.library]

    @property
    def query_groups(self) -> IntArray:
        """Group of each query, shape ``(q,)``."""
        return self.groups[self.queries]

    @property
    def is_leave_one_out(self) -> bool:
        """Whether each picture is queried in turn against all others."""
        return np.array_equal(self.queries, self.library)

    @property
    def class_shares(self) -> NDArray[np.float64]:
        """Share of each class in the library, shape ``(n_classes,)``: the base rates."""
        counts = np.bincount(self.library_labels, minlength=len(self.classes))
        return np.asarray(counts / counts.sum(), dtype=np.float64)

    def values_of(self, attribute: str, where: IntArray) -> tuple[str, ...]:
        """Return the values of an attribute of some pictures."""
        column = self.attributes[attribute]
        return tuple(column[index] for index in where.tolist())


def age_band(age: str | int | None) -> str | None:
    """Return the band of an age in years; a range counts by its lower end.

    Examples
    --------
    >>> age_band("1-5 (paediatric cohort)"), age_band(64), age_band(""), age_band("70.0")
    ('under 18', '40 to 64', None, '65 and over')

    """
    found = re.match(r"\d+", str(age).strip()) if age is not None else None
    if found is None:
        return None
    years = int(found[0])
    return next((name for limit, name in _AGE_BANDS if years < limit), _OLDEST_BAND)


def stated(
    *, source: str, view: str | None, sex: str | None, age: str | int | None
) -> dict[str, str]:
    """Return the attributes that are stated, in one spelling for all sources."""
    values = {
        SOURCE: source,
        VIEW: ViewGroup.from_view_position(view).value if (view or "").strip() else None,
        SEX: _SEXES.get((sex or "").strip().casefold()),
        AGE_BAND: age_band(age),
    }
    return {name: value for name, value in values.items() if value}


def with_classes(
    pictures: Sequence[LabelledPicture],
    wanted: Sequence[str] = (),
    *,
    minimum: int = MINIMUM_PER_CLASS,
) -> tuple[list[LabelledPicture], tuple[str, ...], tuple[str, ...]]:
    """Give each picture one class and leave out those that have none.

    Parameters
    ----------
    pictures
        With any number of labels each.
    wanted
        Class names; a picture gets the first of them that is among its labels. Without any, it
        gets its first label, and labels of fewer than `minimum` patients are left out.
    minimum
        See `wanted`.

    Returns
    -------
    tuple
        The pictures kept, each with its class as only label; the class names; sentences on what
        was left out.

    Raises
    ------
    CdsError
        INVALID_REQUEST if fewer than two classes remain, or a wanted one has no picture.

    """
    chosen = [_class_of(picture.labels, wanted) for picture in pictures]
    patients_of: dict[str, set[str]] = {}
    for picture, name in zip(pictures, chosen, strict=True):
        if name is not None:
            patients_of.setdefault(name, set()).add(picture.patient)
    absent = [name for name in wanted if name not in patients_of]
    if absent:
        raise CdsError(
            Reason.INVALID_REQUEST, f"No picture has the class {', '.join(map(repr, absent))}."
        )
    kept = {n for n, who in patients_of.items() if wanted or len(who) >= minimum}
    if len(kept) < 2:
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"The data have fewer than two classes of at least {minimum} patients: there is "
            "nothing to tell apart.",
        )
    counts = Counter(name for name in chosen if name in kept)
    classes = tuple(wanted) if wanted else _ordered(counts)
    return (
        [
            LabelledPicture((name,), p.patient, p.read, p.attributes, p.side, p.duplicate_group)
            for p, name in zip(pictures, chosen, strict=True)
            if name in kept
        ],
        classes,
        _left_out(chosen, kept, minimum),
    )


def evaluation_set(
    name: str,
    pictures: Sequence[LabelledPicture],
    classes: tuple[str, ...],
    *,
    content: Sequence[str],
    thumbnails: NDArray[np.uint8],
    notes: tuple[str, ...] = (),
) -> EvaluationSet:
    """Join patients and near-duplicates and divide the pictures into queries and library.

    Parameters
    ----------
    name
        What the report calls the data.
    pictures
        Each with one label, its class.
    classes
        Class names, in order.
    content
        SHA-256 (hex) of each picture's bytes.
    thumbnails
        Shape ``(n, 64, 64)``, uint8, preprocessed.
    notes
        Sentences to carry along.

    Returns
    -------
    EvaluationSet
        In which no query meets its own patient or a near-duplicate.

    Raises
    ------
    CdsError
        INVALID_REQUEST if there are no queries or no library.

    """
    places = {label: index for index, label in enumerate(classes)}
    labels = np.array([places[p.labels[0]] for p in pictures], dtype=np.intp)
    numbers = {p: i for i, p in enumerate(dict.fromkeys(p.patient for p in pictures))}
    pairs = near_duplicate_pairs(thumbnails)
    keys = [
        [f"patient {p.patient}", *([f"copies {p.duplicate_group}"] if p.duplicate_group else [])]
        for p in pictures
    ]
    groups = joined_groups(keys, pairs)
    sides = np.array([p.side.value for p in pictures])
    queries = np.flatnonzero(sides != Side.LIBRARY.value)
    library = np.flatnonzero(sides != Side.QUERY.value)
    if len(queries) == 0 or len(library) == 0:
        raise CdsError(Reason.INVALID_REQUEST, "The data have no queries, or nothing to search.")
    across = sum(pictures[a].patient != pictures[b].patient for a, b in pairs)
    copies = (
        f"{across} pairs of pictures of different patients look like copies of one film (thumbnail "
        "correlation of at least .98); a query never meets its own copy.",
    )
    return EvaluationSet(
        name=name,
        classes=classes,
        labels=labels,
        patients=np.array([numbers[p.patient] for p in pictures], dtype=np.intp),
        groups=groups,
        attributes={a: tuple(p.attributes.get(a, "") for p in pictures) for a in ATTRIBUTES},
        queries=queries,
        library=library,
        data_hash=_hash(content, pictures, groups),
        notes=(*notes, *(copies if across else ())),
    )


def _class_of(labels: tuple[str, ...], wanted: Sequence[str]) -> str | None:
    if not wanted:
        return labels[0] if labels else None
    return next((name for name in wanted if name in labels), None)


def _ordered(counts: Counter[str]) -> tuple[str, ...]:
    """Put the healthy class first, then the most frequent."""
    return tuple(
        sorted(counts, key=lambda name: (name.casefold() not in _HEALTHY, -counts[name], name))
    )


def _left_out(chosen: Sequence[str | None], kept: set[str], minimum: int) -> tuple[str, ...]:
    unlabelled = sum(name is None for name in chosen)
    rare = Counter(name for name in chosen if name is not None and name not in kept)
    notes = []
    if unlabelled:
        notes.append(f"{unlabelled} pictures have none of the classes and are left out.")
    if rare:
        notes.append(
            f"{sum(rare.values())} pictures of {len(rare)} classes with fewer than {minimum} "
            "patients are left out."
        )
    return tuple(notes)


def _hash(content: Sequence[str], pictures: Sequence[LabelledPicture], groups: IntArray) -> str:
    lines = sorted(
        f"{digest} {picture.labels[0]} {picture.side.value} {content[group]}"
        for digest, picture, group in zip(content, pictures, groups.tolist(), strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
