"""Laboratory values and vital signs as the EHR lists them: newest value, flag, course."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cds.domain.lab_catalogue import catalogue_row
from sandbox.web.search_parameters import values_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.web.fhir_store import Resource

# How a person writes the UCUM units that do not read well.
_UNITS = {
    "Cel": "\N{DEGREE SIGN}C",
    "mm[Hg]": "mmHg",
    "10*3/uL": "10\N{SUPERSCRIPT THREE}/\N{MICRO SIGN}L",
    "/uL": "/\N{MICRO SIGN}L",
    "ng/mL{FEU}": "ng/mL FEU",
    "mL/min/{1.73_m2}": "mL/min/1.73 m\N{SUPERSCRIPT TWO}",
    "umol/L": "\N{MICRO SIGN}mol/L",
}
SPARK_WIDTH_PX = 84
SPARK_HEIGHT_PX = 22
_MARGIN_PX = 3.0
_LONGEST_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LabRow:
    """One measurement; `spark` holds the points of its course, empty with a single value."""

    display: str
    value: str
    unit: str
    flag: str
    reference: str
    at: str
    earlier: str
    spark: str
    spark_end: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class _Point:
    at: datetime
    value: float


def measurement_rows(observations: Iterable[Resource], category: str) -> tuple[LabRow, ...]:
    """Return one row per code of a category, in alphabetical order."""
    by_code: dict[str, list[Resource]] = {}
    for observation in observations:
        if category in values_at(observation, "category.coding.code"):
            for part in _with_value(observation):
                code = next(iter(values_at(part, "code.coding.code")), "")
                by_code.setdefault(str(code), []).append(part)
    rows = [_row(code, parts) for code, parts in by_code.items()]
    return tuple(sorted(rows, key=lambda row: row.display.casefold()))


def _with_value(observation: Resource) -> list[Resource]:
    """Return the observation itself, or its components with the panel's time."""
    if "valueQuantity" in observation:
        return [observation]
    at = observation.get("effectiveDateTime")
    parts = observation.get("component", ())
    return [{**part, "effectiveDateTime": at} for part in parts if "valueQuantity" in part]


def _row(code: str, parts: list[Resource]) -> LabRow:
    parts = sorted(parts, key=lambda part: _instant(part.get("effectiveDateTime")))
    newest = parts[-1]
    quantity = newest["valueQuantity"]
    low, high = _reference_range(code, newest)
    value = float(quantity["value"])
    points = [
        _Point(_instant(p.get("effectiveDateTime")), float(p["valueQuantity"]["value"]))
        for p in parts
    ]
    spark = _spark(points)
    return LabRow(
        display=_display(code, newest),
        value=f"{value:g}",
        unit=_unit_text(quantity),
        flag=_flag(newest, value, low, high),
        reference=_range_text(low, high),
        at=points[-1].at.strftime("%d %b %H:%M"),
        earlier=f"{points[-2].value:g}" if len(points) > 1 else "",
        spark=" ".join(f"{x:.1f},{y:.1f}" for x, y in spark),
        spark_end=spark[-1] if spark else None,
    )


def _display(code: str, observation: Resource) -> str:
    """Return the short name that staff read: the catalogue's, else what the resource says."""
    row = catalogue_row(code)
    if row is not None:
        return row.display
    concept = observation.get("code", {})
    coded = next(iter(values_at(concept, "coding.display")), "")
    return str(concept.get("text") or coded or "Measurement")


def _unit_text(quantity: dict[str, Any]) -> str:
    unit = str(quantity.get("unit") or quantity.get("code") or "")
    return _UNITS.get(unit, unit)


def _instant(text: object) -> datetime:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return _LONGEST_AGO
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _reference_range(code: str, observation: Resource) -> tuple[float | None, float | None]:
    """Return the range in the observation, else the product catalogue's if the units agree."""
    stated: dict[str, Any] = next(iter(observation.get("referenceRange", ())), {})
    if stated:
        return stated.get("low", {}).get("value"), stated.get("high", {}).get("value")
    row = catalogue_row(code)
    if row is None or observation["valueQuantity"].get("code") != row.unit:
        return None, None
    return row.reference


def _flag(observation: Resource, value: float, low: float | None, high: float | None) -> str:
    stated = next(iter(values_at(observation, "interpretation.coding.code")), None)
    if stated in {"H", "L", "HH", "LL"}:
        return str(stated)
    if low is not None and value < low:
        return "L"
    return "H" if high is not None and value > high else ""


def _range_text(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if low is None:
        return f"< {high:g}"
    return f"{low:g}-{high:g}" if high is not None else f"> {low:g}"


def _spark(points: list[_Point]) -> list[tuple[float, float]]:
    """Return the course as points of a small picture, oldest first."""
    if len(points) < 2:
        return []
    values = [point.value for point in points]
    first, low = points[0].at, min(values)
    seconds = max((points[-1].at - first).total_seconds(), 1.0)
    width, height = SPARK_WIDTH_PX - 2 * _MARGIN_PX, SPARK_HEIGHT_PX - 2 * _MARGIN_PX
    spread = (max(values) - low) or 1.0
    return [
        (
            _MARGIN_PX + width * (point.at - first).total_seconds() / seconds,
            SPARK_HEIGHT_PX - _MARGIN_PX - height * (point.value - low) / spread,
        )
        for point in points
    ]
