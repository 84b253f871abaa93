"""The table of outcomes that are looked for after a film, and the codes that say them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class OutcomeRule:
    """One row of the table (CLINICAL 4.2).

    Attributes
    ----------
    code, horizon_days
        As in `Outcome`.
    kind
        ``death``, ``event``, ``stay-death``, ``stay-days`` or ``return``.
    event
        Which `CourseEvent` counts, for kind ``event``.
    state
        What is noted when it was already true at the film; the outcome is then not counted.
    is_in_hospital
        Whether it can happen in hospital only, so that a closed stay answers it.

    """

    code: str
    horizon_days: int | None
    kind: str
    event: str | None = None
    state: str | None = None
    is_in_hospital: bool = False


@dataclass(frozen=True, slots=True)
class EventTerms:
    """How a record says that an event happened.

    Attributes
    ----------
    resource_type
        FHIR type that is read for it.
    codes
        In whatever system; one that ends in ``*`` is a prefix.
    words, not_words
        Lower case; a display with one of the first and none of the second counts, too.

    """

    resource_type: str
    codes: tuple[str, ...]
    words: tuple[str, ...] = ()
    not_words: tuple[str, ...] = ()

    def match(self, codes: Iterable[str], display: str | None) -> bool:
        """Tell whether a concept says the event.

        Examples
        --------
        >>> EventTerms("Condition", ("C*",), ("carcinoma",), ("history of",)).match(["C34.1"], None)
        True
        >>> terms = EventTerms("Condition", (), ("carcinoma",), ("history of",))
        >>> terms.match([], "Carcinoma of lung"), terms.match([], "History of carcinoma")
        (True, False)

        """
        if any(_is(code, wanted) for code in codes for wanted in self.codes):
            return True
        text = (display or "").lower()
        return any(w in text for w in self.words) and not any(w in text for w in self.not_words)


@cache
def outcome_rules() -> tuple[OutcomeRule, ...]:
    """Return every row, in the order of the data file."""
    return tuple(
        OutcomeRule(
            code=entry["code"],
            horizon_days=entry.get("horizon_days"),
            kind=entry["kind"],
            event=entry.get("event"),
            state=entry.get("state"),
            is_in_hospital=entry.get("in_hospital", False),
        )
        for entry in _table()["outcome"]
    )


@cache
def event_terms() -> Mapping[str, EventTerms]:
    """Return event -> how a record says it."""
    return {
        name: EventTerms(
            entry["resource"],
            tuple(entry["codes"]),
            tuple(entry.get("words", ())),
            tuple(entry.get("not_words", ())),
        )
        for name, entry in _table()["events"].items()
    }


def _is(code: str, wanted: str) -> bool:
    # A prefix is an ICD-10 chapter: a letter and then digits, never a word that begins alike.
    if wanted.endswith("*"):
        stem = wanted[:-1]
        return code.startswith(stem) and code[len(stem) : len(stem) + 2].isdigit()
    return code == wanted


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(files("cds.domain").joinpath("follow_up.toml").read_text("utf-8"))
