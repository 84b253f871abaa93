"""How similar a past case must be to count as comparable: one limit per group of pictures."""

from __future__ import annotations

from dataclasses import dataclass

from cds.domain.case import AgeGroup, ViewGroup
from cds.domain.query import Eligibility

RADIOGRAPHS = frozenset({"CR", "DX", "DR", "XR", "RF", "RG"})
RADIOGRAPH_KIND = "radiograph"
MIN_PATIENTS = 40  # two of them lie below a limit of 5 %; fewer say too little about a group


@dataclass(frozen=True, slots=True)
class PictureGroup:
    """Pictures that resemble each other in what they are; an empty field is not recorded, or any.

    Attributes
    ----------
    kind
        ``radiograph``, or the DICOM modality of anything else.
    body_part
        Body Part Examined, upper case.
    view
        The `ViewGroup` value.
    age
        ``child`` or ``adult``; adults are compared with those of unknown age.
    collection
        Where the pictures come from: each has a scatter of its own.

    """

    kind: str
    body_part: str = ""
    view: str = ""
    age: str = ""
    collection: str = ""

    def wider(self) -> tuple[PictureGroup, PictureGroup]:
        """Return the groups around this one: of every collection, then the whole kind."""
        return (
            PictureGroup(self.kind, self.body_part, self.view, self.age),
            PictureGroup(self.kind),
        )

    def may_hold(self, eligibility: Eligibility) -> bool:
        """Tell whether a query may belong to this group; what it does not say fits anything."""
        kinds = {picture_kind(modality) for modality in eligibility.modalities}
        view, age = eligibility.view_group, eligibility.age_group
        return (
            (not kinds or self.kind in kinds)
            and (not eligibility.body_part or self.body_part in {"", eligibility.body_part})
            and (view is None or self.view in {"", *comparable_views(view)})
            and (age in {None, AgeGroup.UNKNOWN} or self.age in {"", age_kind(str(age))})
        )


@dataclass(frozen=True, slots=True)
class GroupLimit:
    """What the best case of a group must reach.

    Attributes
    ----------
    limit
        Image similarity; 5 % of the cases of `estimated_on` lie below it.
    n_patients
        Of the group itself.
    estimated_on
        The group itself where it holds `MIN_PATIENTS`, else the narrowest group around it that
        does; None where none does: the strictest limit of the library holds.

    """

    group: PictureGroup
    limit: float
    n_patients: int
    estimated_on: PictureGroup | None


@dataclass(frozen=True, slots=True)
class SimilarityLimits:
    """The image limits of a generation, one per group that it holds.

    Attributes
    ----------
    strictest
        The highest limit: for what no group is known of.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> films = PictureGroup("radiograph", "CHEST", "PA", "adult", "own archive")
    >>> slices = PictureGroup("CT", "CHEST", "other", "adult", "own archive")
    >>> limits = SimilarityLimits(
    ...     (GroupLimit(films, 0.8, 60, films), GroupLimit(slices, 0.5, 90, slices)), strictest=0.8
    ... )
    >>> asked = Eligibility(datetime(2026, 1, 1, tzinfo=UTC), modalities=frozenset({"CT"}))
    >>> limits.toward("own archive", asked)
    0.5
    >>> limits.toward("own archive", Eligibility(datetime(2026, 1, 1, tzinfo=UTC)))
    0.8

    """

    groups: tuple[GroupLimit, ...]
    strictest: float

    def toward(self, collection: str, eligibility: Eligibility) -> float:
        """Return what a query must reach with a case of a collection.

        Never the loosest: a query that does not say its modality, body part, view or age is held to
        the strictest of the groups that it may belong to, and so is a case of a collection that
        came after the limits were set.
        """
        fitting = [held for held in self.groups if held.group.may_hold(eligibility)]
        own = [held for held in fitting if held.group.collection == collection]
        return max((held.limit for held in own or fitting), default=self.strictest)


def picture_kind(modality: str) -> str:
    """Return what a modality is compared as.

    Examples
    --------
    >>> picture_kind("CR"), picture_kind("CT"), picture_kind("")
    ('radiograph', 'CT', '')

    """
    return RADIOGRAPH_KIND if modality in RADIOGRAPHS else modality


def age_kind(age_group: str) -> str:
    """Return the age group of the limits: adults are compared with those of unknown age.

    Examples
    --------
    >>> age_kind("unknown"), age_kind("child")
    ('adult', 'child')

    """
    return str(AgeGroup.CHILD if age_group == AgeGroup.CHILD else AgeGroup.ADULT)


def comparable_views(view: ViewGroup) -> tuple[str, ...]:
    """Return the views, as `ViewGroup` values, that may be compared with `view`."""
    if view is ViewGroup.FRONTAL:
        return (ViewGroup.PA.value, ViewGroup.AP.value, ViewGroup.FRONTAL.value)
    if view in {ViewGroup.PA, ViewGroup.AP}:
        return (view.value, ViewGroup.FRONTAL.value)
    return (view.value,)
