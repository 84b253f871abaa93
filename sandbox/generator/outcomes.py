"""What became of the patients after the film, and what was already true at the film."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from sandbox.generator.conditions import Condition, Part, draw_number
from sandbox.generator.parameters import parameters

_NOT_IF = {"icu-admission": "icu", "ventilation": "ventilated", "oxygen": "oxygen"}
_DEATHS = ("death", "in-hospital-death", "death-on-treatment")


@dataclass(frozen=True, slots=True)
class OutcomeItem:
    """One outcome: yes or no as 1 and 0, or a number."""

    code: str
    horizon_days: int
    value: float
    is_number: bool
    observed_on: date

    def text(self) -> str:
        """Return the table's spelling of this item."""
        value = f"{self.value:g}" if self.is_number else ("yes" if self.value else "no")
        return f"{self.code}:{self.horizon_days}:{value}:{self.observed_on.isoformat()}"


def draw_state(condition: Condition, rng: np.random.Generator) -> tuple[str, ...]:
    """Draw what is already true at the film: ICU, ventilated, on oxygen."""
    shares: Mapping[str, float] = condition.table["state"]
    state = {name for name, share in shares.items() if rng.random() < share}
    if "ventilated" in state:
        state |= {"icu", "oxygen"}
    return tuple(name for name in ("icu", "ventilated", "oxygen") if name in state)


def _answers(row: Mapping[str, Any], rng: np.random.Generator) -> Iterator[tuple[str, float, bool]]:
    """Yield (code, value, is number) for one row of the table."""
    code = row["code"]
    if "share" in row:
        yield code, float(rng.random() < row["share"]), False
    elif "number" in row:
        yield code, float(max(round(draw_number(rng, row["number"])), 1)), True
    elif "one_of_numbers" in row:
        yield code, float(1 + rng.choice(len(row["one_of_numbers"]), p=row["one_of_numbers"])), True
    else:
        options: Mapping[str, float] = row.get("one_of") or row["one_of_plain"]
        chosen = str(rng.choice(list(options), p=list(options.values())))
        for name in options:
            yield (f"{code}-{name}" if "one_of" in row else name), float(name == chosen), False


def draw_outcomes(
    condition: Condition,
    part: Part,
    film_on: date,
    state: tuple[str, ...],
    rng: np.random.Generator,
) -> tuple[OutcomeItem, ...]:
    """Draw the outcomes after a film.

    Parameters
    ----------
    condition, part
        What the patient has.
    film_on
        Nothing is observed before this day.
    state
        What was true already is never an outcome: no ICU admission for those in ICU.
    rng
        Source of randomness.

    Returns
    -------
    tuple of OutcomeItem
        Known outcomes only; later than the table's last day of knowledge is not known.

    """
    tables = parameters("conditions")
    until, known_share = (
        date.fromisoformat(tables["film"]["known_until"]),
        tables["library"]["outcome_known_share"],
    )
    rows = tables["part"].get(part.name, {}).get("outcomes") or condition.table["outcomes"]
    found: list[OutcomeItem] = []
    for row in rows:
        is_known = rng.random() < known_share
        answers = list(_answers(row, rng))
        event_day = int(rng.integers(0, row["days"] + 1))
        if not is_known or _NOT_IF.get(row["code"]) in state:
            continue
        for code, value, is_number in answers:
            day = int(value) if code in {"length-of-stay", "days-to-tissue"} else event_day
            observed = film_on + timedelta(days=day if value else row["days"])
            if observed <= until:
                found.append(OutcomeItem(code, row["days"], value, is_number, observed))
    died = any(item.code in _DEATHS and item.value for item in found)
    return tuple(item for item in found if not (died and item.code == "length-of-stay"))
