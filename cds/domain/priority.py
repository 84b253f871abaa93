"""Suggested review priority: the rules that are in force without a threshold signed by the site."""

from __future__ import annotations

from datetime import datetime, timedelta

from cds.domain import wording
from cds.domain.facts import Measurement
from cds.domain.lab_catalogue import catalogue_row
from cds.domain.report import Priority
from cds.domain.value_text import value_text

PHYS_WINDOW = timedelta(hours=6)  # CLINICAL 4.3, PHYS-1
PHYS_LIMITS = (
    ("59408-5", "below", 90.0),
    ("9279-1", "at least", 30.0),
    ("8480-6", "below", 90.0),
    ("2524-7", "at least", 4.0),
)


def physiology_rule(measurements: tuple[Measurement, ...], *, film_at: datetime) -> str | None:
    """Return the sentence of rule PHYS-1 if it fires: reading list only, never a ward card.

    Examples
    --------
    >>> from datetime import UTC
    >>> at = datetime(2026, 11, 12, 6, 41, tzinfo=UTC)
    >>> physiology_rule(
    ...     (Measurement("59408-5", 89.0, "%", datetime(2026, 11, 12, 6, 30, tzinfo=UTC)),),
    ...     film_at=at,
    ... )
    'Suggested review priority: Prompt. Rule PHYS-1 v1: Oxygen saturation 89 % at 06:30 UTC.'

    """
    for code, relation, limit in PHYS_LIMITS:
        for measurement in measurements:
            if measurement.code != code or measurement.observed_at is None:
                continue
            if abs(measurement.observed_at - film_at) > PHYS_WINDOW:
                continue
            fires = measurement.value < limit if relation == "below" else measurement.value >= limit
            row = catalogue_row(code)
            if fires and row is not None:
                value = f"{row.display} {value_text(measurement.value, measurement.unit)}"
                at = f"{measurement.observed_at:%H:%M} UTC"
                return f"Suggested review priority: Prompt. Rule PHYS-1 v1: {value} at {at}."
    return None


def suggested_priority(
    measurements: tuple[Measurement, ...],
    *,
    film_at: datetime | None,
    not_assessed_because: str | None,
) -> tuple[Priority, str]:
    """Return the value and its sentence; "Not assessed" only where no other rule fired (R-DNG-2).

    Image-finding rules stay off until a site has signed a threshold; outcomes of similar cases and
    laboratory critical values are not rules.
    """
    fired = physiology_rule(measurements, film_at=film_at) if film_at is not None else None
    if fired is not None:
        return Priority.PROMPT, fired
    if not_assessed_because is not None:
        return (
            Priority.NOT_ASSESSED,
            f"Not assessed: {not_assessed_because}. Place in the list unchanged.",
        )
    return Priority.NONE, wording.NO_PRIORITY
