"""Several web workers on one damaged index: one of them builds it anew, all of them answer."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.durability.killing import Installation, a_source, runners
from tests.unit.models.tiny_encoder import tiny_encoder

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 180  # how long a hanging server is waited for on a busy machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(installation: Installation, log: Path) -> Iterator[int]:
    """Run gunicorn with the product's own configuration and two workers; yields the port."""
    port = free_port()
    command = ["-m", "gunicorn", "--config", "deploy/gunicorn.conf.py", "cds.web.wsgi:app"]
    environment = {**os.environ, **installation.environment, "WEB_CONCURRENCY": "2"}
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [sys.executable, *command, "--bind", f"127.0.0.1:{port}"],
            cwd=ROOT,
            env=environment,
            stdout=stream,
            stderr=stream,
        )
    try:
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(PATIENCE_S)


def readiness(port: int) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        checks = json.loads(answer.read())["checks"]
        return answer.status, {check["name"]: check["sentence"] for check in checks}
    except OSError:
        return 0, {}
    finally:
        connection.close()


def ready_in_the_end(port: int, log: Path) -> dict[str, str]:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        status, checks = readiness(port)
        if status == 200:
            return checks
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-3000:])


@pytest.mark.parametrize("damage", ["truncated", "removed"])
def test_workers_when_the_index_is_damaged_build_it_once_and_all_answer(
    tmp_path: Path, damage: str
) -> None:
    installation = Installation(tmp_path / "state", tiny_encoder(tmp_path / "encoder"))
    source = str(a_source(tmp_path / "source", 9))
    with runners(tmp_path) as (runner, *_):
        runner.run_well(installation, ("init",))
        runner.run_well(installation, ("library", "import", source))
    sound = installation.end_state()
    for file in (installation.folder / "index").rglob("vectors.npy"):
        if damage == "removed":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:100])
    log = tmp_path / "server.log"
    with served(installation, log) as port:
        checks = ready_in_the_end(port, log)
        assert checks["index"] == "The index is open and answers its canaries."
        assert {readiness(port)[0] for _ in range(12)} == {200}
    assert log.read_text().count("index-rebuilt") == 1
    assert installation.end_state() == sound
