"""What de-identification did in one run, in counts that hold nothing of a patient."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """What became of an attribute, a picture or a word."""

    REMOVED = "removed"
    EMPTIED = "emptied"
    REPLACED = "replaced"
    UID_REMAPPED = "UID remapped"
    DATE_SHIFTED = "date shifted"
    PRIVATE_REMOVED = "private attribute removed"
    NOT_ON_LIST_REMOVED = "not on the list of allowed values, removed"
    UNREADABLE_REMOVED = "unreadable, removed"


@dataclass(slots=True)
class DeidentificationReport:
    """Counts of one run; it only grows.

    Attributes
    ----------
    by_action
        Action -> attributes.
    by_action_and_group
        ``action (gggg)`` -> attributes, with the DICOM group number in hexadecimal.
    counts
        Pictures and texts: looked at, quarantined, with letters that were let through; words
        removed from texts.
    profile, detector
        Which table of the Standard and which network were used.

    """

    profile: str = ""
    detector: str = ""
    by_action: Counter[str] = field(default_factory=Counter)
    by_action_and_group: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def note(self, action: Action, group: int) -> None:
        """Count one attribute of a DICOM header."""
        self.by_action[action.value] += 1
        self.by_action_and_group[f"{action.value} ({group:04X})"] += 1

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for the summary and for the record of the run."""
        return {
            "profile": self.profile,
            "detector": self.detector,
            "attributes": dict(self.by_action.most_common()),
            "attributes_by_group": dict(sorted(self.by_action_and_group.items())),
            "counts": dict(sorted(self.counts.items())),
        }

    def flat_counts(self) -> dict[str, int]:
        """Return every count under one plain name, for the record of the run."""
        return {
            **{f"deidentification: {k}": n for k, n in self.by_action_and_group.items()},
            **{f"deidentification: {k}": n for k, n in self.counts.items()},
        }
