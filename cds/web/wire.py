"""JSON answers: one way to write them."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response

FHIR_JSON = "application/fhir+json; charset=utf-8"
PLAIN_JSON = "application/json"


def json_response(body: Any, *, status: int = 200) -> Response:  # noqa: ANN401  # any JSON value
    """Return `body` as ``application/json``."""
    return Response(orjson.dumps(body), status=status, content_type=PLAIN_JSON)


def fhir_response(resource: dict[str, Any], *, status: int = 200) -> Response:
    """Return a FHIR resource as ``application/fhir+json``."""
    return Response(orjson.dumps(resource), status=status, content_type=FHIR_JSON)
