"""A patient-view call against an empty endpoint of the same server, through the real client.

The synthetic hospital answers FHIR and DICOMweb, the product runs under gunicorn as in the demo,
and the EHR's own client signs and sends the calls: discovery, prefetch, token, picture are real.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import requests
from werkzeug.serving import make_server

from bench.measure import Ratio, seconds
from sandbox.__main__ import LOOPBACK, QuietHandler, read_secrets
from sandbox.web.accounts import ACCOUNTS
from sandbox.web.application import create_app, open_hospital
from sandbox.web.cds_client import CdsClient, ViewedChart
from sandbox.web.places import Places

N_CASES, ROUNDS = 80, 40
DEADLINE_MS = 500  # CDS Hooks 2.0: on the order of 500 ms; inside, 450
USER = ACCOUNTS[0]
PATIENTS = ("p2", "p3", "p4", "p5", "p7", "p8")
ROOT = Path(__file__).parents[1]


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


EHR_PORT, APP_PORT = free_port(), free_port()


def prepared(state: Path) -> None:
    """Generate, import and register, as the demo does."""
    command = [sys.executable, "-c", "import sys; from cds.cli.main import main; sys.exit(main())"]
    command += ["demo", "--once-ready-exit", "--no-browser", "--state", str(state)]
    command += ["--cases", str(N_CASES), "--port", str(EHR_PORT), "--app-port", str(APP_PORT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def product(state: Path):
    """Serve the product with two workers."""
    environment = os.environ | {
        "PRECEDENT_STATE_DIR": str(state / "running"),
        "PRECEDENT_PUBLIC_URL": f"http://127.0.0.1:{APP_PORT}",
        "PRECEDENT_DEVELOPMENT": "true",
        "PRECEDENT_LOG_LEVEL": "ERROR",
        "WEB_CONCURRENCY": "2",
    }
    command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "deploy/gunicorn.conf.py")]
    command += ["--bind", f"127.0.0.1:{APP_PORT}", "smart_app.wsgi:app"]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until_ready()
        yield
    finally:
        server.send_signal(signal.SIGINT)  # at once, without waiting for idle connections
        server.wait(20)


def wait_until_ready() -> None:
    """Wait for the product's own readiness check."""
    for _ in range(300):
        try:
            if requests.get(f"http://127.0.0.1:{APP_PORT}/health/ready", timeout=2).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the product is not ready")


@contextmanager
def hospital(state: Path):
    """Serve the synthetic hospital and give its client of CDS services."""
    (tryout,) = state.glob("generated-*/tryout")
    places = Places(
        base_url=f"http://localhost:{EHR_PORT}",
        app_url=f"http://127.0.0.1:{APP_PORT}",
        ehr_id="st-brevis",
    )
    opened = open_hospital(tryout, places, read_secrets(state / "secrets.json"))
    app = create_app(opened)
    server = make_server(LOOPBACK, EHR_PORT, app, threaded=True, request_handler=QuietHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield CdsClient(opened)
    finally:
        server.shutdown()


def measured(client: CdsClient) -> list[Ratio]:
    """Call hook and empty endpoint in turn; each round opens another chart."""
    session = requests.Session()
    empty_url = f"http://127.0.0.1:{APP_PORT}/health/live"
    charts = [ViewedChart(USER, patient, None) for patient in PATIENTS]
    first = [seconds(partial(client.chart_opened, chart)) for chart in charts]
    hook, empty = [], []
    for i in range(ROUNDS):
        chart = charts[i % len(charts)]
        hook.append(seconds(partial(client.chart_opened, chart)))
        empty.append(seconds(lambda: session.get(empty_url, timeout=5)))
    empty_ms = 1000 * statistics.median(empty)
    warm_ms, first_ms = 1000 * statistics.median(hook), 1000 * statistics.median(first)
    worst_ms = 1000 * max(hook + first)
    against = "against an empty endpoint"
    return [
        Ratio(f"hook: chart seen before, {against}", warm_ms / empty_ms, warm_ms, empty_ms, "ms"),
        Ratio(f"hook: first opening, {against}", first_ms / empty_ms, first_ms, empty_ms, "ms"),
        Ratio(
            "hook: slowest of all calls, against the deadline",
            worst_ms / DEADLINE_MS,
            worst_ms,
            DEADLINE_MS,
            "ms",
            "<= 1.1",
        ),
    ]


def run() -> list[Ratio]:
    """Measure and return the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        prepared(state)
        with hospital(state) as client, product(state):
            return measured(client)


if __name__ == "__main__":
    for ratio in run():
        print(ratio.line())
