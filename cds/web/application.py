"""The Flask application for machines: hooks, FHIR API, health; runs alone or under the app."""

from __future__ import annotations

import logging
from time import monotonic

from flask import Flask, Response, g, request

from cds.web.access import install_access_policy
from cds.web.backend_key_set import backend_key_set
from cds.web.cors import apply_cors
from cds.web.engine_surface import MachineEngine, bind_engine
from cds.web.errors import install_error_handlers
from cds.web.fhir_routes import install_fhir
from cds.web.headers import apply_machine_headers
from cds.web.health import health
from cds.web.hook_routes import install_hooks
from cds.web.logs import tame_libraries
from cds.web.openapi import openapi
from cds.web.subscription_routes import subscriptions

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 4 * 1024 * 1024  # a prefetch of 2 MB and its envelope


def create_app(engine: MachineEngine) -> Flask:
    """Return the application around a built engine; nothing is read from the environment.

    Rooms on top register their own blueprints on it; each of their endpoints declares an access
    policy (`cds.web.access`) or stays closed.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]  # DefaultJSONProvider has it
    bind_engine(app.extensions, engine)
    tame_libraries()
    app.before_request(_start_clock)
    install_access_policy(app)
    install_error_handlers(app)
    install_hooks(app, engine)
    install_fhir(app)
    app.register_blueprint(health)
    app.register_blueprint(openapi)
    app.register_blueprint(backend_key_set)
    app.register_blueprint(subscriptions)
    is_https = engine.settings.public_url.startswith("https:")

    def finish(response: Response) -> Response:
        _log_access(response)
        return apply_machine_headers(apply_cors(response), is_https=is_https)

    app.after_request(finish)
    return app


def _start_clock() -> None:
    g.started_s = monotonic()


def _log_access(response: Response) -> None:
    """Log which endpoint answered what; never a path or a query, they hold patient ids."""
    registration = g.get("registration")
    log.info(
        "answered",
        extra={
            "endpoint": request.endpoint or "none",
            "method": request.method,
            "status": response.status_code,
            "ms": round((monotonic() - g.get("started_s", monotonic())) * 1000, 1),
            "ehr_id": None if registration is None else registration.ehr_id,
        },
    )
