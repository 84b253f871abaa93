"""Replacements that agree with each other: UIDs and dates under the installation's key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from cds.ports import IdentityKeys

UUID_ROOT = "2.25."  # PS3.5 B.2: a UID from 128 bits, needs no registration
UUID_HEX_DIGITS = 32
MIN_SHIFT_DAYS, MAX_SHIFT_DAYS = 30, 1095


@dataclass(frozen=True, slots=True, repr=False)
class KeyedPseudonyms:
    """Replaces UIDs and moves dates, the same way in every run of one installation.

    Without the key nothing can be computed back; another installation gives other replacements.
    """

    keys: IdentityKeys

    def uid(self, original: str) -> str:
        """Return the UID that stands for another; equal originals give equal ones."""
        digest = self.keys.study_key(f"uid\n{original.strip()}")
        return f"{UUID_ROOT}{int(digest[:UUID_HEX_DIGITS], 16)}"

    def shift_days(self, patient_key: str) -> int:
        """Return by how many days this patient's dates move: -1095 to -30, always the same."""
        digest = self.keys.study_key(f"date shift\n{patient_key}")
        n_choices = MAX_SHIFT_DAYS - MIN_SHIFT_DAYS + 1
        return -(MIN_SHIFT_DAYS + int(digest, 16) % n_choices)

    def shifted(self, on: date, patient_key: str) -> date:
        """Return the date to show or export: intervals within a patient stay as they were.

        Raises
        ------
        OverflowError
            If the date is before the calendar begins.

        """
        return on + timedelta(days=self.shift_days(patient_key))
