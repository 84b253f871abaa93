"""Where an EHR's FHIR Subscription tells us that a study arrived (rest-hook)."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response, request

from cds.domain.errors import CdsError, Reason
from cds.fhir.subscription import MAX_NOTIFIED, NOTIFICATION_HEADER, notified_study_ids
from cds.web.access import AccessPolicy
from cds.web.engine_surface import current_engine
from cds.web.tenant import bind_tenant, current_registration

subscriptions = Blueprint(
    "subscriptions", __name__, url_prefix="/t/<ehr_id>/notifications/<subscription_id>"
)
subscriptions.url_value_preprocessor(bind_tenant)


def _check_subscription(arguments: dict[str, Any]) -> None:
    """Let pass a call with the secret of this EHR's own subscription."""
    notices, ehr_id = current_engine().background.notices(), current_registration().ehr_id
    secret = request.headers.get(NOTIFICATION_HEADER, "")
    if not notices.may_notify(ehr_id, arguments["subscription_id"], secret):
        raise CdsError(Reason.NOT_AUTHENTICATED, "This is no notification of a subscription.")


subscription_secret = AccessPolicy("subscription", _check_subscription)


@subscriptions.post("")
@subscription_secret
def notify(subscription_id: str) -> Response:
    """Take a notification, with an ImagingStudy or a Bundle in its body or without content."""
    del subscription_id
    body = request.get_data(cache=False)
    named = notified_study_ids(_json(body)) if body.strip() else ()
    if len(named) >= MAX_NOTIFIED:  # there may be more: none is lost, they are looked for
        _taken(())
    return _taken(named)


@subscriptions.put("/<resource_type>/<resource_id>")
@subscription_secret
def notify_with_payload(subscription_id: str, resource_type: str, resource_id: str) -> Response:
    """Take a notification as FHIR R4 sends it with a payload; only the id is used."""
    del subscription_id
    document = {"resourceType": resource_type, "id": resource_id}
    named = notified_study_ids(document)
    if not named:
        raise CdsError(Reason.INVALID_REQUEST, "Only ImagingStudy is subscribed to.")
    return _taken(named)


def _taken(imaging_study_ids: tuple[str, ...]) -> Response:
    current_engine().background.notices().notified(current_registration().ehr_id, imaging_study_ids)
    return Response(status=204)


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise CdsError(Reason.INVALID_REQUEST, "The body is no JSON.") from None
