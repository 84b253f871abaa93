"""FHIR responses: resources and OperationOutcomes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flask import Response

if TYPE_CHECKING:
    from sandbox.web.fhir_store import Resource

FHIR_JSON = "application/fhir+json"


def fhir_response(resource: Resource, status: int = 200) -> Response:
    """Return a resource as FHIR JSON."""
    text = json.dumps(resource, ensure_ascii=False)
    return Response(text, status, content_type=f"{FHIR_JSON}; charset=utf-8")


def outcome(status: int, code: str, sentence: str) -> Response:
    """Return an OperationOutcome that says why a request was refused."""
    issue = {"severity": "error", "code": code, "diagnostics": sentence}
    return fhir_response({"resourceType": "OperationOutcome", "issue": [issue]}, status)
