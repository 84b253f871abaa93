"""OperationOutcome: how FHIR servers refuse."""

from __future__ import annotations

from typing import Any


def operation_outcome(code: str, sentence: str, *, severity: str = "error") -> dict[str, Any]:
    """Return an OperationOutcome with one issue.

    Parameters
    ----------
    code
        FHIR R4 issue type, for example ``not-found``, ``login``, ``forbidden``, ``required``.
    sentence
        What happened and what to do; free of PHI.
    severity
        ``fatal``, ``error``, ``warning`` or ``information``.

    """
    issue = {"severity": severity, "code": code, "details": {"text": sentence}}
    return {"resourceType": "OperationOutcome", "issue": [issue]}
