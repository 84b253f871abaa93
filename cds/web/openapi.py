"""The machine interface, described: OpenAPI 3.1 at /openapi.json."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from flask import Blueprint, Response

from cds.web.access import public
from cds.web.tenant import public_url
from cds.web.wire import json_response

openapi = Blueprint("openapi", __name__)


@cache
def openapi_document() -> dict[str, Any]:
    """Return the document as it is kept in the source, without the address of an installation."""
    text = files("cds.web").joinpath("openapi.json").read_bytes()
    document: dict[str, Any] = orjson.loads(text)
    return document


@openapi.get("/openapi.json")
@public
def describe() -> Response:
    """Return the document with this installation's address."""
    return json_response({**openapi_document(), "servers": [{"url": public_url()}]})
