"""What stands on a patient's record: conditions by age, and symptoms told at the film."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from sandbox.generator.conditions import Condition, Part
from sandbox.generator.parameters import parameters

_AGES = (30.0, 50.0, 70.0, 85.0)
_AT_FILM = frozenset({
    "cough", "weight_loss", "haemoptysis", "night_sweats", "dyspnoea", "chest_pain", "recent_cold",
    "cough_3_weeks", "symptom_days_7", "preoperative", "line_check", "recent_surgery",
    "recent_procedure", "pneumonia_recent",
    "laparoscopy", "immobile", "aspiration", "abdominal_source",
})  # fmt: skip
_LATE_SHARE = 0.05  # found on the ward and recorded after the film


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """A coded entry and the time it was recorded."""

    key: str
    code: str
    display: str
    recorded_at: datetime

    def text(self) -> str:
        """Return the table's spelling of this item."""
        system = "sct" if self.code else ""
        return f"{system}|{self.code}|{self.display}@{self.recorded_at:%Y-%m-%dT%H:%M:%SZ}"


def share_of(flag: str, age_years: int, raised: Mapping[str, float]) -> float:
    """Return the share of people of an age with a flag, raised where the condition raises it."""
    base = parameters("conditions")["base_rates"].get(flag)
    at_age = float(np.interp(age_years, _AGES, base)) if base else 0.0
    return max(at_age, raised.get(flag, 0.0))


def draw_history(
    condition: Condition, part: Part, age_years: int, film_at: datetime, rng: np.random.Generator
) -> tuple[HistoryItem, ...]:
    """Draw the record of one patient; a few entries were recorded only after the film."""
    tables = parameters("conditions")
    raised = {**condition.table["history"], **tables["part"].get(part.name, {}).get("history", {})}
    items = []
    has = {flag for flag in tables["flags"] if rng.random() < share_of(flag, age_years, raised)}
    if "smoker" in has:
        has -= {"ex_smoker", "never_smoked"}
    if "ex_smoker" in has:
        has -= {"never_smoked"}
    for flag in tables["flags"]:
        years = float(rng.uniform(0.3, 9.0))
        hours = float(rng.uniform(0.5, 9.0))
        is_late = rng.random() < _LATE_SHARE
        if flag not in has:
            continue
        code, display = tables["flags"][flag]
        back = timedelta(hours=hours) if flag in _AT_FILM else timedelta(days=365.25 * years)
        recorded = film_at + timedelta(hours=6 + 4 * hours) if is_late else film_at - back
        items.append(HistoryItem(flag, code, display, recorded.replace(second=0, microsecond=0)))
    return tuple(items)
