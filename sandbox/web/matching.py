"""How one FHIR search parameter is compared with one resource."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.web.search_parameters import Kind, SearchParameter, values_at

_PREFIX = re.compile(r"^(eq|ne|gt|lt|ge|le|sa|eb)(?=\d)")
_PARTIAL = re.compile(r"^(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?$")
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)
_ONE_SECOND = timedelta(seconds=1)

Span = tuple[datetime, datetime]


class BadSearchError(ValueError):
    """A search that the store refuses with 400; its text may be shown to the caller."""


def matches(resource: dict[str, Any], parameter: SearchParameter, text: str) -> bool:
    """Tell whether a resource satisfies one parameter; commas in `text` mean "or".

    Raises
    ------
    BadSearchError
        If a date cannot be read.

    """
    found = [value for path in parameter.paths for value in values_at(resource, path)]
    compare = _COMPARISONS[parameter.kind]
    return any(compare(value, wanted) for wanted in text.split(",") for value in found)


def span_of(text: str) -> Span:
    """Return the half-open interval that a FHIR date, dateTime or instant stands for.

    Raises
    ------
    BadSearchError
        If the text is none of them.

    Examples
    --------
    >>> [at.isoformat() for at in span_of("2024-02")]
    ['2024-02-01T00:00:00+00:00', '2024-03-01T00:00:00+00:00']

    """
    partial = _PARTIAL.match(text)
    try:
        if partial is None:
            start = datetime.fromisoformat(text.replace(" ", "+"))
            start = start if start.tzinfo else start.replace(tzinfo=UTC)
            return start, start + _ONE_SECOND
        year, month, day = (int(part) if part else 0 for part in partial.groups())
        start = datetime(year, month or 1, day or 1, tzinfo=UTC)
        if day:
            return start, start + timedelta(days=1)
        if month:
            return start, (start + timedelta(days=31)).replace(day=1)
        return start, start.replace(year=year + 1)
    except (ValueError, OverflowError):
        raise BadSearchError("A date of the search cannot be read.") from None


def _span_of_element(value: Any) -> Span:  # noqa: ANN401  # any FHIR date element
    if isinstance(value, dict):
        start = span_of(value["start"])[0] if "start" in value else _BEGINNING
        return start, span_of(value["end"])[1] if "end" in value else _END
    return span_of(str(value))


def _date_matches(value: Any, wanted: str) -> bool:  # noqa: ANN401  # any FHIR date element
    prefix = _PREFIX.match(wanted)
    low, high = span_of(wanted[2:] if prefix else wanted)
    start, end = _span_of_element(value)
    inside = low <= start and end <= high
    answers = {
        "eq": inside,
        "ne": not inside,
        "gt": end > high,
        "ge": end > high or inside,
        "lt": start < low,
        "le": start < low or inside,
        "sa": start >= high,
        "eb": end <= low,
    }
    return answers[prefix.group(1) if prefix else "eq"]


def _pairs_of(value: Any) -> list[tuple[str, str]]:  # noqa: ANN401  # any FHIR token element
    if not isinstance(value, dict):
        return [("", str(value).lower() if isinstance(value, bool) else str(value))]
    if "coding" in value:
        return [
            (str(coding.get("system", "")), str(coding.get("code", "")))
            for coding in value["coding"]
        ]
    return [(str(value.get("system", "")), str(value.get("code", value.get("value", ""))))]


def _token_matches(value: Any, wanted: str) -> bool:  # noqa: ANN401  # any FHIR token element
    system, bar, code = wanted.rpartition("|")
    return any(
        (not code or code == found_code) and (not bar or system == found_system)
        for found_system, found_code in _pairs_of(value)
    )


def _reference_matches(value: Any, wanted: str) -> bool:  # noqa: ANN401  # a Reference
    reference = str(value.get("reference", "")) if isinstance(value, dict) else ""
    if not reference:
        return False
    tail = "/".join(wanted.rstrip("/").split("/")[-2:])
    return reference.endswith("/" + tail) if "/" not in tail else reference == tail


def _string_matches(value: Any, wanted: str) -> bool:  # noqa: ANN401  # a string element
    return str(value).casefold().startswith(wanted.casefold())


_COMPARISONS = {
    Kind.TOKEN: _token_matches,
    Kind.REFERENCE: _reference_matches,
    Kind.DATE: _date_matches,
    Kind.STRING: _string_matches,
}
