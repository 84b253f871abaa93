"""Deny by default: an endpoint without a declared access policy answers nobody.

A policy is a named check that runs before the view and raises `CdsError` to refuse. Rooms on top of
this one declare their own policies in the same way (a clinician's session, for example).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask, Response, current_app, request

from cds.domain.errors import CdsError, Reason

log = logging.getLogger(__name__)

_ATTRIBUTE = "precedent_access_policy"
_EXTENSION = "precedent.access"
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Who may call an endpoint.

    Attributes
    ----------
    name
        Shown in docs/access-policy.md and in logs, for example ``cds-client``.
    check
        Called with the URL's arguments; returns, or raises CdsError NOT_AUTHENTICATED,
        NOT_AUTHORIZED or NOT_FOUND.

    """

    name: str
    check: Callable[[dict[str, Any]], None]

    def __call__(self, view: View) -> View:
        """Declare this policy for a view; the outermost decorator is the route's."""
        setattr(view, _ATTRIBUTE, self)
        return view


def _anyone(_arguments: dict[str, Any]) -> None:
    """Refuse nobody."""


public = AccessPolicy("public", _anyone)


def declare(app: Flask, endpoint: str, policy: AccessPolicy) -> None:
    """Declare a policy for an endpoint whose view is not ours, for example a static folder."""
    app.extensions.setdefault(_EXTENSION, {})[endpoint] = policy


def policy_of(app: Flask, endpoint: str) -> AccessPolicy | None:
    """Return the declared policy of an endpoint, or None."""
    declared: AccessPolicy | None = app.extensions.get(_EXTENSION, {}).get(endpoint)
    if declared is not None:
        return declared
    found = getattr(app.view_functions.get(endpoint), _ATTRIBUTE, None)
    return found if isinstance(found, AccessPolicy) else None


def enforce_policy() -> Response | None:
    """Run the policy of the requested endpoint; without one, refuse.

    Raises
    ------
    CdsError
        NOT_AUTHORIZED if the endpoint has no policy; whatever the policy raises.

    """
    endpoint = request.endpoint
    if endpoint is None:  # no such address: Flask answers 404 or 405
        return None
    if request.method == "OPTIONS":  # never reaches a view; preflight carries no credentials
        return current_app.make_default_options_response()
    policy = policy_of(current_app, endpoint)
    if policy is None:
        log.error("endpoint-without-policy", extra={"endpoint": endpoint})
        raise CdsError(Reason.NOT_AUTHORIZED, "This address has no access policy and is closed.")
    policy.check(dict(request.view_args or {}))
    return None


def install_access_policy(app: Flask) -> None:
    """Refuse each endpoint without a policy; call it before any other `before_request`."""
    app.extensions.setdefault(_EXTENSION, {})
    app.before_request(enforce_policy)
