"""Cells of a table that hold lists: coded items, measurements, history, outcomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime

from cds.domain.coding import Coding
from cds.domain.dates import aware
from cds.domain.facts import HistoryFlag, Measurement, Outcome, SetAside
from cds.domain.lab_catalogue import normalise

ITEM_SEPARATOR = ";"
PART_SEPARATOR = "|"
TIME_SEPARATOR = "@"
YES_NO = {"yes": 1.0, "no": 0.0}
_LAB = re.compile(r"^(?P<code>[^=]+)=(?P<value>[-+0-9.eE]+)(?: (?P<unit>\S+))?$")


class UnreadableItemError(ValueError):
    """An item of a list that does not have its form; its text is not repeated: it may be PHI."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind} not understood")


def items(cell: str) -> tuple[str, ...]:
    """Return the items of a list, stripped, without empty ones."""
    return tuple(part.strip() for part in cell.split(ITEM_SEPARATOR) if part.strip())


def coding_from_text(text: str, systems: Mapping[str, str]) -> Coding:
    """Read ``system|code|display``; plain text is a display without a code.

    Parameters
    ----------
    text
        One item without its time.
    systems
        Short name -> URI of a code system.

    Raises
    ------
    UnreadableItemError
        If there is neither a code's display nor a text.

    Examples
    --------
    >>> coding_from_text("sct|13645005|COPD", {"sct": "http://snomed.info/sct"}).key
    '13645005'
    >>> coding_from_text("||Long-term steroid", {}).code is None
    True

    """
    parts = [part.strip() for part in text.split(PART_SEPARATOR)]
    if len(parts) not in {1, 3} or not parts[-1]:
        raise UnreadableItemError("coded item")
    if len(parts) == 1 or not parts[1]:
        return Coding(parts[-1])
    return Coding(parts[2], parts[1], systems.get(parts[0], parts[0]))


def moment_from_text(text: str) -> datetime:
    """Read an ISO 8601 moment with its zone, as UTC.

    Raises
    ------
    UnreadableItemError
        If it is none, or has no zone: one is never assumed.

    Examples
    --------
    >>> moment_from_text("2023-04-11T08:52:00+02:00").isoformat()
    '2023-04-11T06:52:00+00:00'

    """
    try:
        return aware(datetime.fromisoformat(text.strip()))
    except ValueError:
        raise UnreadableItemError("time") from None


def history_from_text(text: str, systems: Mapping[str, str]) -> HistoryFlag:
    """Read ``coded item@time of recording``.

    Raises
    ------
    UnreadableItemError
        If the item or its time is not understood.

    """
    coded, separator, recorded = text.partition(TIME_SEPARATOR)
    recorded_on = day_from_text(recorded) if separator else None
    return HistoryFlag(coding_from_text(coded, systems), recorded_on)


def measurement_from_text(text: str) -> Measurement | SetAside:
    """Read ``LOINC=value unit@time`` and bring it into the catalogue's unit, or set it aside.

    Raises
    ------
    UnreadableItemError
        If the item does not have this form.

    Examples
    --------
    >>> measurement_from_text("9-9=97 umol/L@2023-04-11T05:40:00Z").reason
    'not in the catalogue'
    >>> measurement_from_text("1988-5=165 mg/L").value
    165.0

    """
    measured, separator, observed = text.partition(TIME_SEPARATOR)
    match = _LAB.match(measured.strip())
    if match is None:
        raise UnreadableItemError("measurement")
    try:
        value = float(match["value"])
    except ValueError:
        raise UnreadableItemError("measurement") from None
    observed_at = moment_from_text(observed) if separator else None
    return normalise(match["code"].strip(), value, match["unit"], observed_at=observed_at)


def outcome_from_text(text: str, source: str) -> Outcome:
    """Read ``code:horizon_days:value:observed_on``; value is yes, no or a number.

    Raises
    ------
    UnreadableItemError
        If the item does not have this form.

    Examples
    --------
    >>> outcome_from_text("icu-admission:7:no:2023-04-18", "table").value
    0.0

    """
    parts = [part.strip() for part in text.split(":")]
    if len(parts) not in {3, 4} or not parts[0]:
        raise UnreadableItemError("outcome")
    observed = parts[3] if len(parts) == 4 else ""
    try:
        return Outcome(
            code=parts[0],
            horizon_days=int(parts[1]) if parts[1] else None,
            value=YES_NO[parts[2]] if parts[2] in YES_NO else float(parts[2]),
            observed_on=date.fromisoformat(observed) if observed else None,
            source=source,
        )
    except ValueError:
        raise UnreadableItemError("outcome") from None


def day_from_text(text: str) -> date:
    """Read an ISO day, or the UTC day of an ISO moment.

    Raises
    ------
    UnreadableItemError
        If it is neither.

    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UnreadableItemError("time") from None
    return found.astimezone(UTC).date() if found.tzinfo is not None else found.date()
