"""What counts at the time of one film: windows around it, and only what was recorded before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cds.domain.facts import HistoryFlag, Measurement, PatientFacts
from cds.domain.lab_catalogue import CatalogueRow, catalogue
from cds.domain.patient import ClinicalContext
from cds.domain.study import StudyRef
from cds.domain.value_text import value_text

ALWAYS_NAMED_WEIGHT = 1.0  # rows of this weight are named when they are missing


@dataclass(frozen=True, slots=True, repr=False)
class FilmFacts:
    """The record as it counts for one film.

    Attributes
    ----------
    film_at
        Aware UTC time that the windows lie around.
    used, missing
        Phrases for the page: what was compared, and what was not and why.
    history
        Flags recorded before the film; a later entry is a label, never history.

    """

    film_at: datetime
    facts: PatientFacts
    used: tuple[str, ...]
    missing: tuple[str, ...]
    history: tuple[HistoryFlag, ...] = ()

    def __repr__(self) -> str:
        return "FilmFacts(<redacted>)"


def film_facts(
    context: ClinicalContext | None, study: StudyRef | None, *, as_of: datetime
) -> FilmFacts:
    """Select what counts around the film.

    Parameters
    ----------
    context
        None for a picture without a record.
    study
        Its start is the film's time; without one `as_of` is.
    as_of
        Aware UTC; nothing observed later is used.

    """
    film_at = study.started_at if study is not None and study.started_at is not None else as_of
    if context is None:
        return FilmFacts(film_at, PatientFacts(None, "unknown"), (), ("record (none given)",))
    used: list[Measurement] = []
    missing: list[str] = []
    for row in catalogue():
        values = [m for m in context.measurements if m.code == row.code and _is_past(m, as_of)]
        chosen = _in_window(row, values, film_at)
        if chosen is not None:
            used.append(chosen)
        elif row.weight >= ALWAYS_NAMED_WEIGHT:
            missing.append(_missing_phrase(row, values, film_at))
    born = context.demographics.birth_on
    age_years = born.age_years_at(film_at.date()) if born is not None else None
    if age_years is None:
        missing.insert(0, "age (no full birth date)")
    return FilmFacts(
        film_at=film_at,
        facts=PatientFacts(age_years, context.demographics.sex, tuple(used)),
        used=_used_phrases(age_years, context.demographics.sex, used),
        missing=(*missing, *context.missing),
        history=tuple(
            flag
            for flag in context.history
            if flag.recorded_on is not None and flag.recorded_on < film_at.date()
        ),
    )


def _is_past(measurement: Measurement, as_of: datetime) -> bool:
    return measurement.observed_at is None or measurement.observed_at <= as_of


def _in_window(
    row: CatalogueRow, values: list[Measurement], film_at: datetime
) -> Measurement | None:
    """Return the nearest value before the film within the window, else the nearest after it."""
    earliest = film_at - timedelta(hours=row.window_before_h)
    latest = film_at + timedelta(hours=row.window_after_h)
    before = [m for m in values if m.observed_at is None or earliest <= m.observed_at <= film_at]
    if before:
        return max(before, key=lambda m: m.observed_at or film_at)
    after = [m for m in values if m.observed_at is not None and film_at < m.observed_at <= latest]
    return min(after, key=lambda m: m.observed_at or film_at) if after else None


def _missing_phrase(row: CatalogueRow, values: list[Measurement], film_at: datetime) -> str:
    dated = [m.observed_at for m in values if m.observed_at is not None]
    if not dated:
        return f"{row.display} (none)"
    nearest = min(dated, key=lambda at: abs(at - film_at))
    hours = round(abs(nearest - film_at).total_seconds() / 3600)
    side = "before" if nearest <= film_at else "after"
    gap = f"{hours} h" if hours < 48 else f"{hours // 24} d"
    window = f"none within {row.window_before_h:g} h of the film"
    return f"{row.display} ({window}; nearest value {gap} {side})"


def _used_phrases(age_years: int | None, sex: str, used: list[Measurement]) -> tuple[str, ...]:
    displays = {row.code: row.display for row in catalogue()}
    phrases = [f"age {age_years}"] if age_years is not None else []
    if sex in {"male", "female"}:
        phrases.append(f"sex {sex}")
    return (*phrases, *(f"{displays[m.code]} {value_text(m.value, m.unit)}" for m in used))
