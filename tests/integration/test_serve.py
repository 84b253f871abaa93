"""`precedent serve` answers, ends on SIGTERM, and refuses what would not be safe."""

from __future__ import annotations

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
import requests

from cds.adapters.storage import initialise, open_storage
from cds.cli.main import main
from cds.domain.registration import Stage
from cds.settings import Settings
from tests.builders.registration import a_registration

PATIENCE_S = 60.0
PRODUCT = "import sys; from cds.cli.main import main; sys.exit(main())"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings = Settings(state_dir=tmp_path / "state")
    initialise(settings)
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(settings.state_dir))
    return settings.state_dir


@contextmanager
def serving(*flags: str, log: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "-c", PRODUCT, "serve", "--bind", f"127.0.0.1:{port}", *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ)  # our own
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0


def answered(url: str) -> requests.Response:
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return requests.get(url, timeout=PATIENCE_S)
        except requests.ConnectionError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.2)


def test_serve_when_started_answers_and_ends_when_told(state: Path, tmp_path: Path) -> None:
    with serving("--workers", "1", log=tmp_path / "log") as url:
        assert answered(f"{url}/health/live").json() == {"status": "live"}
        assert requests.get(f"{url}/launch", timeout=PATIENCE_S).status_code == 400


def test_serve_when_for_machines_only_has_no_pages(state: Path, tmp_path: Path) -> None:
    with serving("--workers", "1", "--machines-only", log=tmp_path / "log") as url:
        assert answered(f"{url}/health/live").status_code == 200
        assert requests.get(f"{url}/launch", timeout=PATIENCE_S).status_code == 404


def test_serve_when_nothing_was_initialised_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(tmp_path / "none"))
    assert main(["serve"]) == 2
    assert "precedent init" in capsys.readouterr().err


def test_serve_when_real_data_lies_on_a_plain_volume_refuses(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(Settings(state_dir=state))
    storage.registrations.save(a_registration(stage=Stage.SILENT))
    storage.engine.dispose()
    assert main(["serve"]) == 2
    assert "PRECEDENT_STORAGE_ENCRYPTED" in capsys.readouterr().err


def test_serve_when_in_development_listens_on_loopback_only(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRECEDENT_DEVELOPMENT", "true")
    assert main(["serve", "--bind", "0.0.0.0:8000"]) == 2
    assert "loopback" in capsys.readouterr().err
