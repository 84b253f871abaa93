"""How gunicorn serves Precedent: the app is loaded once, then shared by forked workers.

``gunicorn --config python:cds.web.serving smart_app.wsgi:app`` serves everything,
``... cds.web.wsgi:app`` the doors for machines alone; `precedent serve` does both.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cds.engine.installation_files import refuse_plain_volume
from cds.settings import settings_from_environment
from cds.web.bind import check_bind

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

bind = "127.0.0.1:8000"
preload_app = True  # model, index and code are loaded once; workers share the memory
worker_class = "gthread"
threads = 8  # a hook waits for its peers most of the time
timeout = 60  # s; a launch that reads a large study answers far below
graceful_timeout = 10  # s; idle connections keep a worker that long, no answer takes as much
keepalive = 5  # s
max_requests = 20_000  # a worker is renewed now and then
max_requests_jitter = 2_000
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - gunicorn's heartbeat
accesslog = None  # the product writes its own access log, without paths and queries
errorlog = "-"
loglevel = "info"
limit_request_line = 8190


def on_starting(server: Arbiter) -> None:
    """Refuse to start where it would not be safe, before anything listens.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION in the development mode on an address other than loopback, and where
        an EHR beyond the sandbox is registered but no encrypted volume was found or attested.

    """
    settings = settings_from_environment()
    for address in server.cfg.address:
        check_bind(settings, address)
    refuse_plain_volume(settings)


def post_worker_init(worker: Worker) -> None:
    """Give each worker its own connections and decoder before the first call arrives."""
    worker.app.callable.extensions["precedent.engine"].prepare_worker()


def worker_exit(_server: Arbiter, _worker: Worker) -> None:
    """Leave at once when all is said.

    onnxruntime 1.31.1 starts a thread at import. It lives in the master only, so its teardown hangs
    or aborts in a forked worker: seen on a bare import, a fork and `sys.exit`, 2026-11.
    """
    logging.shutdown()
    os._exit(0)
