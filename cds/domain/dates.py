"""FHIR dates that keep their precision."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

_PARTIAL = re.compile(r"^(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?$")


@dataclass(frozen=True, slots=True, order=True)
class PartialDate:
    """A FHIR `date`: a year, a year and month, or a full day; never completed by guessing.

    Attributes
    ----------
    year, month, day
        `month` and `day` are None where the source did not say.

    References
    ----------
    FHIR R4, datatypes, date.

    Examples
    --------
    >>> PartialDate.from_text("1959-03"), str(PartialDate.from_text("1959-03"))
    (PartialDate(year=1959, month=3, day=None), '1959-03')
    >>> PartialDate.from_text("1959-03").agrees_with(PartialDate.from_text("1959-03-14"))
    True

    """

    year: int
    month: int | None = None
    day: int | None = None

    def __post_init__(self) -> None:
        date(self.year, self.month or 1, self.day or 1)
        if self.day is not None and self.month is None:
            raise ValueError("a day needs a month")

    @classmethod
    def from_text(cls, text: str) -> PartialDate:
        """Read ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``.

        Raises
        ------
        ValueError
            If `text` is none of these or no calendar date.

        """
        match = _PARTIAL.match(text)
        if match is None:
            raise ValueError("not a FHIR date")
        year, month, day = match.groups()
        return cls(int(year), int(month) if month else None, int(day) if day else None)

    @classmethod
    def from_dicom(cls, text: str) -> PartialDate:
        """Read a DICOM DA value, ``YYYYMMDD``.

        Raises
        ------
        ValueError
            If `text` is not eight digits of a calendar date.

        """
        if not re.fullmatch(r"\d{8}", text):
            raise ValueError("not a DICOM date")
        return cls(int(text[:4]), int(text[4:6]), int(text[6:]))

    def agrees_with(self, other: PartialDate) -> bool:
        """Tell whether the parts that both sides have are equal."""
        pairs = (
            (self.year, other.year),
            (self.month, other.month),
            (self.day, other.day),
        )
        return all(a == b for a, b in pairs if a is not None and b is not None)

    def age_years_at(self, on: date) -> int | None:
        """Return the age in completed years, or None when the precision cannot decide it."""
        earliest = date(self.year, self.month or 1, self.day or 1)
        latest = date(self.year, self.month or 12, self.day or 28)
        ages = {_completed_years(born, on) for born in (earliest, latest)}
        return ages.pop() if len(ages) == 1 else None

    def __str__(self) -> str:
        text = f"{self.year:04d}"
        if self.month is not None:
            text += f"-{self.month:02d}"
        if self.day is not None:
            text += f"-{self.day:02d}"
        return text


def birth_date_at_age(age_years: int, on: datetime) -> PartialDate:
    """Return a birth date that gives this age on that day, where only the age is known.

    Examples
    --------
    >>> birth_date_at_age(18, datetime(2026, 3, 31, tzinfo=UTC)).age_years_at(date(2026, 3, 31))
    18

    """
    return PartialDate(on.year - age_years, on.month, min(on.day, 28))


def _completed_years(born: date, on: date) -> int:
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


def aware(moment: datetime) -> datetime:
    """Return `moment` in UTC.

    Raises
    ------
    ValueError
        If `moment` has no time zone: the product never assumes one.

    """
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC)
