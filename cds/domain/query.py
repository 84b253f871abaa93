"""What is asked: who, which study, as of when, why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from cds.domain.case import AgeGroup, ViewGroup
from cds.domain.identity import own_namespace
from cds.domain.patient import ClinicalContext
from cds.domain.picture_copy import GreyThumbnail
from cds.domain.pixels import PixelFrame
from cds.domain.study import StudyRef

Float32Array = NDArray[np.float32]

DEFAULT_CUTOFF = 31
DEFAULT_IMAGE_WEIGHT = 0.6


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """How much each block of the fused similarity counts; they sum to one.

    Examples
    --------
    >>> BlockWeights(image=0.6).record
    0.4

    """

    image: float = DEFAULT_IMAGE_WEIGHT

    def __post_init__(self) -> None:
        if not 0.0 <= self.image <= 1.0:
            raise ValueError("a block weight lies in [0, 1]")

    @property
    def record(self) -> float:
        """Return the weight of labs, vitals, age and sex."""
        return round(1.0 - self.image, 12)


@dataclass(frozen=True, slots=True, eq=False)
class FusedQuery:
    """The vectors that are searched with; a block that could not be built is None.

    Attributes
    ----------
    image
        Shape ``(d,)``, float32, unit norm: the picture, or the key slice of several.
    more_images
        Further slices of the same series, shape ``(d,)`` each: a case is as similar as its most
        similar picture to any of them.
    record
        Shape ``(r,)``, float32, norm at most 1: missing measurements add nothing.
    presence
        Shape ``(f,)``, float32: which features of the record block are known; None without one.

    """

    weights: BlockWeights
    image: Float32Array | None = None
    record: Float32Array | None = None
    presence: Float32Array | None = None
    more_images: tuple[Float32Array, ...] = ()

    def __post_init__(self) -> None:
        if self.more_images and self.image is None:
            raise ValueError("further slices need a key slice")
        if self.image is None and self.record is None:
            raise ValueError("a query needs at least one block")
        if (self.record is None) != (self.presence is None):
            raise ValueError("a record block says which of its features are known")

    def images(self) -> tuple[Float32Array, ...]:
        """Return the vector of each picture, the key slice first."""
        return () if self.image is None else (self.image, *self.more_images)


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Which library cases may answer: the filters and exclusions of one query.

    Attributes
    ----------
    modalities
        Modalities that may be compared; empty means any.
    known_before
        Cases known at or after this aware time are excluded (reference cases never are).
    excluded_patient_keys, excluded_study_keys
        Keyed hashes of the query's own patient and study.
    perceptual_hashes
        Of the query's pictures; near-duplicates of them are excluded.
    thumbnails
        Of the same pictures, in the same order; cropped copies of them are excluded as well.
    keep_copies
        Copies are ranked instead of excluded, each as similar as a picture is to itself.

    """

    known_before: datetime
    modalities: frozenset[str] = frozenset()
    body_part: str | None = None
    view_group: ViewGroup | None = None
    age_group: AgeGroup | None = None
    ehr_id: str | None = None
    excluded_patient_keys: frozenset[str] = frozenset()
    excluded_study_keys: frozenset[str] = frozenset()
    perceptual_hashes: tuple[int, ...] = ()
    thumbnails: tuple[GreyThumbnail, ...] = ()
    keep_copies: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class CaseQuery:
    """One question to the engine.

    Attributes
    ----------
    reason
        Which door asked: ``hook``, ``launch``, ``api``, ``upload`` or ``cli``.
    as_of
        Aware UTC; nothing known later is used.
    own_identifiers
        Further (namespace, identifier) pairs of the same patient, to be excluded from the answer.
    keep_copies
        Rank copies of the pictures as well; for librarians, never for a patient's answer.

    """

    ehr_id: str
    reason: str
    as_of: datetime
    context: ClinicalContext | None
    study: StudyRef | None
    frames: tuple[PixelFrame, ...] = ()
    weights: BlockWeights = BlockWeights()
    cutoff: int = DEFAULT_CUTOFF
    own_identifiers: tuple[tuple[str, str], ...] = ()
    keep_copies: bool = False

    def identifiers(self) -> frozenset[tuple[str, str]]:
        """Return every (namespace, identifier) pair that names the query's own patient.

        A number without a system is the EHR's own; it is named without a system as well, as cases
        of earlier versions are.
        """
        pairs = set(self.own_identifiers)
        if self.context is not None:
            pairs |= {(i.system or "", i.value) for i in self.context.demographics.identifiers}
        for frame in self.frames:
            if frame.identity.patient_id_value:
                pairs.add((frame.identity.issuer or "", frame.identity.patient_id_value))
        own = own_namespace(self.ehr_id)
        return frozenset(pairs | {(own, value) for namespace, value in pairs if not namespace})

    def study_instance_uids(self) -> frozenset[str]:
        """Return the Study Instance UIDs that name the query's own study."""
        named = {frame.identity.study_instance_uid for frame in self.frames}
        named.add(self.study.study_instance_uid if self.study is not None else None)
        return frozenset(uid for uid in named if uid)

    def __repr__(self) -> str:
        return f"CaseQuery({self.ehr_id}, {self.reason}, <redacted>)"
