"""The addresses of CDS Hooks: discovery and the services, per EHR."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, cast

import orjson
from flask import Blueprint, Flask, Response, current_app, g, request

from cds.domain.errors import CdsError, Reason
from cds.domain.time_limit import TimeLimit
from cds.hooks.discovery import CdsService, cds_service_by_id, discovery_json
from cds.hooks.request import HookRequest
from cds.web.access import AccessPolicy, public
from cds.web.client_auth import TokenCheck, verify
from cds.web.engine_surface import MachineEngine, current_engine
from cds.web.errors import HttpRefusalError
from cds.web.hook_answer import HookCall, HookDoor, answer_hook
from cds.web.hook_state import Caller
from cds.web.key_sets import KeySets
from cds.web.outages import Outages
from cds.web.tenant import bind_tenant, current_registration, tenant_base
from cds.web.wire import json_response

_DOOR = "precedent.hook_door"
_KEY_SETS = "precedent.key_sets"
MAX_ANALYSES = 16  # threads per process; each ends at its own deadline

hooks = Blueprint("hooks", __name__, url_prefix="/t/<ehr_id>/cds-services")
hooks.url_value_preprocessor(bind_tenant)


def install_hooks(app: Flask, engine: MachineEngine) -> None:
    """Add the hook addresses to an application."""
    executor = ThreadPoolExecutor(MAX_ANALYSES, thread_name_prefix="hook")
    app.extensions[_DOOR] = HookDoor(engine, executor, Outages())
    app.extensions[_KEY_SETS] = KeySets(monotonic)
    app.register_blueprint(hooks)


def _check_cds_client(arguments: dict[str, Any]) -> None:
    """Let pass a call whose JWT was signed by a registered CDS client for exactly this address."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise CdsError(Reason.NOT_AUTHENTICATED, "A JWT of a registered CDS client is required.")
    g.limit = _time_limit()
    base = f"{tenant_base(current_registration().ehr_id)}/cds-services"
    verify(
        token.strip(),
        TokenCheck(
            engine=current_engine(),
            registration=current_registration(),
            key_sets=current_app.extensions[_KEY_SETS],
            audience=f"{base}/{arguments['cds_service_id']}",
            deadline=g.limit,
        ),
    )


cds_client = AccessPolicy("cds-client", _check_cds_client)


def _time_limit() -> TimeLimit:
    return TimeLimit(current_engine().settings.hook_deadline_ms / 1000)


@hooks.get("")
@public
def discovery() -> Response:
    """Return which services this EHR may call."""
    return json_response(discovery_json())


@hooks.post("/<cds_service_id>")
@cds_client
def call_cds_service(cds_service_id: str) -> Response:
    """Answer a hook with cards, within the deadline."""
    cds_service = _cds_service(cds_service_id)
    hook_request = HookRequest.from_json(_json_body(), hook=cds_service.hook)
    engine = current_engine()
    call = HookCall(
        cds_service_id=cds_service.cds_service_id,
        request=hook_request,
        caller=Caller(current_registration(), hook_request.user_ref, engine.clock.now()),
        limit=g.limit,
    )
    door = cast("HookDoor", current_app.extensions[_DOOR])
    return json_response(answer_hook(door, call))


def _cds_service(cds_service_id: str) -> CdsService:
    found = cds_service_by_id(cds_service_id)
    if found is None:
        raise CdsError(Reason.NOT_FOUND, "There is no CDS service with this id.")
    return found


def _json_body() -> object:
    if request.mimetype != "application/json":
        raise HttpRefusalError(415, "A CDS Hooks call has the media type application/json.")
    try:
        return orjson.loads(request.get_data(cache=False))
    except orjson.JSONDecodeError:
        raise CdsError(Reason.INVALID_REQUEST, "The body is no JSON.") from None
