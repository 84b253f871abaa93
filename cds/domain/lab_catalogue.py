"""The laboratory values and vital signs that the product understands, and their units."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from cds.domain.facts import Measurement, SetAside

FAHRENHEIT = "F"
_GRAMS_PER_LITRE = {"mg/dL": 0.01, "g/dL": 10.0, "mg/L": 0.001, "g/L": 1.0}
_MOLES_PER_LITRE = {"mol/L": 1.0, "mmol/L": 1e-3, "umol/L": 1e-6, "nmol/L": 1e-9}


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One measurement: its code, its unit, when it counts, and how it is compared.

    Attributes
    ----------
    code, unit
        Primary LOINC code and UCUM unit of every `Measurement` of this row.
    window_before_h, window_after_h
        Hours before and after the film within which a value is used.
    plausible, reference
        Ends, in `unit`. Outside `plausible` a value is set aside.
    centre, spread, is_log
        Location and scale on the feature axis; of the natural logarithm if `is_log`.
    weight
        In the record block; 0 is shown but not compared.
    factors
        Accepted unit -> factor to `unit`, or ``"F"``.

    """

    code: str
    display: str
    unit: str
    kind: str
    window_before_h: float
    window_after_h: float
    plausible: tuple[float, float]
    reference: tuple[float, float]
    centre: float
    spread: float
    is_log: bool
    weight: float
    molar_mass_g_per_mol: float | None = None
    factors: Mapping[str, float | str] = field(default_factory=dict, hash=False, compare=False)

    def is_abnormal(self, value: float) -> bool:
        """Tell whether `value` lies outside the reference range."""
        return not self.reference[0] <= value <= self.reference[1]

    def axis_position(self, value: float) -> float:
        """Return `value` in spreads from the centre, on the logarithmic axis if the row says so."""
        if not self.is_log:
            return (value - self.centre) / self.spread
        floor = self.centre * math.exp(
            -4 * self.spread
        )  # zero and near-zero counts sit at the low end
        return (math.log(max(value, floor)) - math.log(self.centre)) / self.spread


@cache
def catalogue() -> tuple[CatalogueRow, ...]:
    """Return every row, in the order of the data file."""
    table = tomllib.loads(files("cds.domain").joinpath("lab_catalogue.toml").read_text("utf-8"))
    return tuple(_row(entry) for entry in table["row"])


def catalogue_row(code: str) -> CatalogueRow | None:
    """Return the row whose primary or alternate LOINC code is `code`, or None.

    Examples
    --------
    >>> catalogue_row("38483-4").display
    'Creatinine'

    """
    return _by_code().get(code)


def normalise(
    code: str, value: float, unit: str | None, *, observed_at: datetime | None = None
) -> Measurement | SetAside:
    """Bring a value into the catalogue's code and unit, or set it aside with the reason.

    Parameters
    ----------
    code
        LOINC code as received.
    value
        In `unit`.
    unit
        UCUM code as received; None is set aside: a unit is never assumed.
    observed_at
        Aware time of the value.

    Returns
    -------
    Measurement or SetAside
        Never a guess: an unknown code, a unit without a conversion or an implausible value is set
        aside. Moles become mass only where the row has the analyte's molar mass.

    Examples
    --------
    >>> round(normalise("2160-0", 97.0, "umol/L").value, 2)
    1.1
    >>> normalise("2885-2", 68.0, "g/dL").reason
    'not in the catalogue'
    >>> normalise("8310-5", 101.3, "[degF]").value
    38.5

    """
    text = f"{value:g} {unit or '(no unit)'}"
    row = catalogue_row(code)
    if row is None:
        return SetAside(code, text, "not in the catalogue")
    converted = _convert(row, value, unit)
    if converted is None:
        return SetAside(row.display, text, "unit not convertible")
    if not math.isfinite(converted) or not row.plausible[0] <= converted <= row.plausible[1]:
        return SetAside(row.display, text, "not plausible; unit?")
    return Measurement(row.code, converted, row.unit, observed_at)


def _convert(row: CatalogueRow, value: float, unit: str | None) -> float | None:
    if unit is None:
        return None
    spelled = unit.replace("\u00b5", "u").replace("\u03bc", "u").replace("\u200b", "").strip()
    if spelled == row.unit:
        return value
    factor = row.factors.get(spelled)
    if factor == FAHRENHEIT:
        return round((value - 32.0) / 1.8, 2)
    if isinstance(factor, float):
        return value * factor
    if row.molar_mass_g_per_mol and spelled in _MOLES_PER_LITRE and row.unit in _GRAMS_PER_LITRE:
        return (
            value
            * _MOLES_PER_LITRE[spelled]
            * row.molar_mass_g_per_mol
            / _GRAMS_PER_LITRE[row.unit]
        )
    return None


@cache
def _by_code() -> Mapping[str, CatalogueRow]:
    return {
        code: row for row in catalogue() for code in (row.code, *_alternates().get(row.code, ()))
    }


@cache
def _alternates() -> Mapping[str, tuple[str, ...]]:
    table = tomllib.loads(files("cds.domain").joinpath("lab_catalogue.toml").read_text("utf-8"))
    return {entry["code"]: tuple(entry.get("alternates", ())) for entry in table["row"]}


def _row(entry: Mapping[str, Any]) -> CatalogueRow:
    return CatalogueRow(
        code=entry["code"],
        display=entry["display"],
        unit=entry["unit"],
        kind=entry["kind"],
        window_before_h=entry["window_before_h"],
        window_after_h=entry["window_after_h"],
        plausible=(entry["plausible"][0], entry["plausible"][1]),
        reference=(entry["reference"][0], entry["reference"][1]),
        centre=entry["centre"],
        spread=entry["spread"],
        is_log=entry.get("log", False),
        weight=entry["weight"],
        molar_mass_g_per_mol=entry.get("molar_mass_g_per_mol"),
        factors=entry.get("accepts", {}),
    )
