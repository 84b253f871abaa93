"""FHIR Condition -> HistoryFlag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.domain.coding import SNOMED_CT, Coding
from cds.domain.facts import HistoryFlag
from cds.fhir.dates import day
from cds.fhir.shapes import codings, concept_text, has_code, text

if TYPE_CHECKING:
    from cds.fhir.shapes import Resource

# Not established, or not true at all.
_NOT_HISTORY = ("entered-in-error", "refuted", "differential", "provisional", "unconfirmed")
_OVER = ("inactive", "remission", "resolved")


def is_ignored(condition: Resource) -> bool:
    """Tell whether a Condition was entered in error, refuted or never confirmed."""
    return has_code(condition.get("verificationStatus"), *_NOT_HISTORY)


def history_from_condition(condition: Resource) -> HistoryFlag | None:
    """Return a Condition as history, or None if it names nothing.

    Only the recorded date says when the record knew it (CLINICAL 4.1); the onset does not.

    Parameters
    ----------
    condition
        FHIR R4 Condition as JSON.

    """
    concept = condition.get("code")
    snomed = next((c for c in codings(concept) if c.get("system") == SNOMED_CT), None)
    display = concept_text(concept) or (text(snomed.get("code")) if snomed else None)
    if display is None:
        return None
    code = text(snomed.get("code")) if snomed else None
    has_ended = any(key.startswith("abatement") for key in condition)
    return HistoryFlag(
        coding=Coding(display, code),
        recorded_on=day(condition.get("recordedDate")),
        is_active=not has_ended and not has_code(condition.get("clinicalStatus"), *_OVER),
    )
