"""Is the process alive, and could it answer calls now."""

from __future__ import annotations

from flask import Blueprint, Response

from cds.web.access import public
from cds.web.engine_surface import current_engine
from cds.web.wire import json_response

health = Blueprint("health", __name__, url_prefix="/health")


@health.get("/live")
@public
def live() -> Response:
    """Return 200 as long as the process answers at all."""
    return json_response({"status": "live"})


@health.get("/ready")
@public
def ready() -> Response:
    """Return 200 if every check passes, else 503; each check says what to do."""
    checks = current_engine().ready()
    is_ready = bool(checks) and all(check.ok for check in checks)
    body = {
        "status": "ready" if is_ready else "not-ready",
        "checks": [
            {"name": check.name, "ok": check.ok, "sentence": check.sentence} for check in checks
        ],
    }
    return json_response(body, status=200 if is_ready else 503)


@health.get("/jobs")
@public
def jobs() -> Response:
    """Return how long the queue of background jobs is; 503 if nobody works on it."""
    watch, now = current_engine().background, current_engine().clock.now()
    counts, stalled = watch.counts(), watch.why_stalled()
    oldest, beat = counts.oldest_waiting_at, counts.last_heartbeat_at
    body = {
        "status": "working" if stalled is None else "stalled",
        "sentence": stalled or "Waiting jobs are being run.",
        "waiting": counts.n_waiting,
        "running": counts.n_running,
        "dead_letters": counts.n_dead,
        "oldest_waiting_s": None if oldest is None else round((now - oldest).total_seconds()),
        "last_heartbeat_s": None if beat is None else round((now - beat).total_seconds()),
    }
    return json_response(body, status=200 if stalled is None else 503)
