"""Laboratory values and vital signs around the film, with the tests that a doctor would order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from sandbox.generator.conditions import EMBOLISM_NUMBER, Z_90, Condition, Part, conditions
from sandbox.generator.parameters import parameters

OXYGEN_FLOW, INHALED_OXYGEN, PO2, SPO2 = "3151-8", "3150-6", "2703-7", "59408-5"
_COLUMN_OF_NONE = 12  # the column that "." points to
_ROOM_AIR_PERCENT, _PERCENT_PER_LITRE = 21.0, 4.0
_LIMITS = {SPO2: (60.0, 100.0), OXYGEN_FLOW: (0.0, 15.0), "19926-5": (20.0, 95.0)}
_FURTHEST_Z = 2.6  # values further out would look like typing errors
_ARDS_LARGEST_RATIO = 300.0  # PaO2/FiO2 by definition of the syndrome


@dataclass(frozen=True, slots=True)
class Lab:
    """One measurement as the hospital sends it."""

    loinc: str
    value: float
    unit: str
    observed_at: datetime

    def text(self) -> str:
        """Return the table's spelling of this item."""
        return f"{self.loinc}={self.value:g} {self.unit}@{self.observed_at:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True, slots=True)
class LabSituation:
    """What decides which tests are done and how they come out."""

    condition: Condition
    part: Part
    film_at: datetime
    is_ventilated: bool = False
    is_site_b: bool = False


@cache
def _codes() -> tuple[str, ...]:
    return tuple(parameters("labs")["lab"])


@cache
def _mixing() -> npt.NDArray[np.float64]:
    """Return the matrix that gives independent normals the wanted correlations."""
    codes = _codes()
    wanted = np.eye(len(codes))
    for row in parameters("labs")["correlation"]:
        i, j = codes.index(row["pair"][0]), codes.index(row["pair"][1])
        wanted[i, j] = wanted[j, i] = row["value"]
    return np.asarray(np.linalg.cholesky(wanted), dtype=np.float64)


def spread_of(code: str, number: int, part: str = "") -> list[float]:
    """Return [median, 10th, 90th percentile] of a value in a condition, or in a part of it."""
    for row in parameters("labs")["part"]:
        if row["condition"] == number and row["name"] == part and code in row["values"]:
            found: list[float] = row["values"][code]
            return found
    columns: list[list[float]] = parameters("labs")["lab"][code]["columns"]
    column = min(number, _COLUMN_OF_NONE)
    return columns[column - 1] or columns[_COLUMN_OF_NONE - 1]


def value_at(z: float, spread: list[float]) -> float:
    """Return the value at a standard normal position: logarithmic on the sides that are skewed."""
    median, low, high = spread
    is_skewed = median > 0 and high - median > 1.5 * (median - low)
    if is_skewed:
        low = max(low, median / 6)
        ratio = high / median if z > 0 else median / low
        return float(median * ratio ** (z / Z_90))
    return float(median + z / Z_90 * ((high - median) if z > 0 else (median - low)))


def tested_share(panel: str, number: int) -> float:
    """Return the share of patients of a condition in whom a panel is ordered."""
    row = parameters("labs")["panel"][panel]
    own = row.get("conditions", [])
    if number in own:
        return float(row["own"])
    groups = {c.number: c.group for c in conditions().values()} | {EMBOLISM_NUMBER: "D"}
    in_group = groups[number] in {groups[n] for n in own} and groups[number] != "+"
    return float(row["group"] if in_group else row["other"])


def _when(panel: str, film_at: datetime, rng: np.random.Generator) -> datetime:
    low, high = parameters("labs")["window"].get(panel, [-20.0, 5.0])
    moved = film_at + timedelta(hours=float(rng.uniform(low, high)))
    return moved.replace(second=0, microsecond=0)


def _limited(code: str, value: float, decimals: int) -> float:
    low, high = _LIMITS.get(code, (0.0, float("inf")))
    return round(min(max(value, low), high), decimals)


def draw_values(situation: LabSituation, rng: np.random.Generator) -> dict[str, float]:
    """Draw every value, tested or not, in the first hospital's units."""
    normals = np.clip(_mixing() @ rng.standard_normal(len(_codes())), -_FURTHEST_Z, _FURTHEST_Z)
    number, part = situation.condition.number, situation.part.name
    rows = parameters("labs")["lab"]
    values = {
        code: _limited(
            code, value_at(float(z), spread_of(code, number, part)), rows[code]["decimals"]
        )
        for code, z in zip(_codes(), normals, strict=True)
    }
    if situation.is_ventilated:
        values.pop(OXYGEN_FLOW)
        values[INHALED_OXYGEN] = float(np.clip(5 * round(rng.normal(62, 17) / 5), 40, 100))
    if situation.condition.key == "ards":
        inhaled = values.get(
            INHALED_OXYGEN, _ROOM_AIR_PERCENT + _PERCENT_PER_LITRE * values.get(OXYGEN_FLOW, 0)
        )
        values[PO2] = min(values[PO2], float(np.floor(_ARDS_LARGEST_RATIO * inhaled / 100)))
    return values


def draw_labs(situation: LabSituation, rng: np.random.Generator) -> tuple[Lab, ...]:
    """Draw the measurements that exist for one film.

    Parameters
    ----------
    situation
        Condition, part, time, hospital.
    rng
        Draws values, tests ordered and times.

    Returns
    -------
    tuple of Lab
        In the hospital's own codes and units; every time within the window of its panel.

    """
    table: Any = parameters("labs")
    number = situation.condition.number
    ordering = EMBOLISM_NUMBER if situation.part.name == "embolism" else number
    panels = {name: rng.random() < tested_share(name, ordering) for name in table["panel"]}
    times = {name: _when(name, situation.film_at, rng) for name in table["panel"]}
    labs = []
    for code, value in draw_values(situation, rng).items():
        row = table["lab"][OXYGEN_FLOW if code == INHALED_OXYGEN else code]
        if not panels[row["panel"]]:
            continue
        loinc, unit, factor = code, "%" if code == INHALED_OXYGEN else row["unit"], 1.0
        if situation.is_site_b and code in table["site_b"]:
            loinc, unit, factor = table["site_b"][code]
        labs.append(Lab(loinc, float(f"{value * factor:.4g}"), unit, times[row["panel"]]))
    return tuple(labs)
