"""Whether all of a study has arrived: its count stands still and equals what others counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cds.domain.dates import aware

DEFAULT_STABLE_S = 60.0
DEFAULT_PATIENCE_S = 24 * 3600.0


class Completeness(StrEnum):
    """What may be done with a study now.

    DISAGREES means that its count has stood still for long, and yet is not what was stated: no
    further waiting helps, and the study is not taken for complete.
    """

    COMPLETE = "complete"
    ARRIVING = "arriving"
    EMPTY = "empty"
    DISAGREES = "disagrees"


@dataclass(frozen=True, slots=True)
class InstanceCount:
    """A count of a study's instances, and since when it is this.

    Attributes
    ----------
    since_at
        Aware; when this number was counted for the first time without another in between.

    """

    n_instances: int
    since_at: datetime

    def __post_init__(self) -> None:
        if self.n_instances < 0:
            raise ValueError("a count is not negative")
        object.__setattr__(self, "since_at", aware(self.since_at))

    def followed_by(self, n_instances: int, at: datetime) -> InstanceCount:
        """Return the count after it was taken again; a clock that went back starts anew."""
        if n_instances == self.n_instances and aware(at) >= self.since_at:
            return self
        return InstanceCount(n_instances, at)


@dataclass(frozen=True, slots=True)
class CompletenessVerdict:
    """The verdict, and when to count again (None once it is complete)."""

    completeness: Completeness
    again_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CompletenessRule:
    """When a study counts as complete (CLINICAL 3.1, "Study completeness").

    Attributes
    ----------
    stable_s
        So long the count must have stood still.
    patience_s
        So long a count that stands still may differ from what was stated.

    """

    stable_s: float = DEFAULT_STABLE_S
    patience_s: float = DEFAULT_PATIENCE_S

    def __post_init__(self) -> None:
        if self.stable_s < 0 or self.patience_s < self.stable_s:
            raise ValueError("patience is not shorter than the time of standing still")

    def verdict(
        self, count: InstanceCount, *, stated: Sequence[int | None] = (), now: datetime
    ) -> CompletenessVerdict:
        """Judge a study.

        Parameters
        ----------
        count
            Counted at instance level; the last count was taken at `now` or just before.
        stated
            What others counted, each None where it is not given: the archive's Number of Study
            Related Instances (0020,1208), the modality's performed procedure step, the EHR's
            ImagingStudy.numberOfInstances.
        now
            Aware.

        Examples
        --------
        >>> from datetime import UTC
        >>> count = InstanceCount(2, datetime(2026, 1, 5, 12, 0, tzinfo=UTC))
        >>> later = datetime(2026, 1, 5, 12, 1, tzinfo=UTC)
        >>> CompletenessRule().verdict(count, stated=(2, None), now=later).completeness.value
        'complete'
        >>> CompletenessRule().verdict(count, stated=(3,), now=later).completeness.value
        'arriving'

        """
        stable_at = count.since_at + timedelta(seconds=self.stable_s)
        again_at = aware(now) + timedelta(seconds=max(self.stable_s, 1.0))
        if count.n_instances == 0:
            return CompletenessVerdict(Completeness.EMPTY, again_at)
        if aware(now) < stable_at:
            return CompletenessVerdict(Completeness.ARRIVING, stable_at)
        if all(n is None or n == count.n_instances for n in stated):
            return CompletenessVerdict(Completeness.COMPLETE)
        if aware(now) - count.since_at >= timedelta(seconds=self.patience_s):
            return CompletenessVerdict(Completeness.DISAGREES, again_at)
        return CompletenessVerdict(Completeness.ARRIVING, again_at)
