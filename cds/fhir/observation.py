"""FHIR Observation -> measurements of the laboratory catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.domain.coding import LOINC, UCUM
from cds.domain.facts import Measurement, SetAside
from cds.domain.lab_catalogue import catalogue_row, normalise
from cds.fhir.dates import effective_at, moment
from cds.fhir.shapes import codings, items, mapping, text

if TYPE_CHECKING:
    from datetime import datetime

    from cds.domain.lab_catalogue import CatalogueRow
    from cds.fhir.shapes import Resource

# `registered` has no value yet; the others are withdrawn.
IGNORED_STATUSES = frozenset({"entered-in-error", "cancelled", "registered"})


def is_ignored(observation: Resource) -> bool:
    """Tell whether an Observation was withdrawn or has no value yet."""
    return observation.get("status") in IGNORED_STATUSES


def known_at(observation: Resource) -> datetime | None:
    """Return when the record knew the value: when it was issued, else when it was taken."""
    return moment(observation.get("issued")) or effective_at(observation)


def measurements_from_observation(observation: Resource) -> tuple[Measurement | SetAside, ...]:
    """Return the values of an Observation that the catalogue knows.

    Panels (blood pressure, 85354-9) are read through their components. Values that the catalogue
    does not list are left out; those that it lists but cannot use are set aside with the reason.

    Parameters
    ----------
    observation
        FHIR R4 Observation as JSON.

    """
    taken_at = effective_at(observation)
    parts = (observation, *items(observation.get("component")))
    found = (_value(part, taken_at) for part in parts)
    return tuple(value for value in found if value is not None)


def _value(part: Resource, taken_at: datetime | None) -> Measurement | SetAside | None:
    row = _row(part)
    quantity = mapping(part.get("valueQuantity"))
    number = quantity.get("value")
    if row is None or isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    is_ucum = quantity.get("system") == UCUM
    unit = (text(quantity.get("code")) if is_ucum else None) or text(quantity.get("unit"))
    written = f"{number:g} {unit or '(no unit)'}"
    comparator = text(quantity.get("comparator"))
    if comparator:
        return SetAside(row.display, f"{comparator} {written}", "reported as a limit only")
    if taken_at is None:
        return SetAside(row.display, written, "no time of measurement")
    return normalise(row.code, float(number), unit, observed_at=taken_at)


def _row(part: Resource) -> CatalogueRow | None:
    for coding in codings(part.get("code")):
        code = text(coding.get("code"))
        row = catalogue_row(code) if code and coding.get("system") == LOINC else None
        if row is not None:
            return row
    return None
