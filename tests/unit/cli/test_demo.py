"""The demo's processes, ports and registration."""

from __future__ import annotations

import re
import socket
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from cds.cli.demo_hospital import DemoPlaces, demo_registration, shared_secrets
from cds.cli.demo_processes import children, refuse_taken_port, run_to_end
from cds.cli.demo_state import begin, fingerprint, fresh_copy, is_complete, mark_complete
from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from pathlib import Path

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_port_when_in_use_is_refused_with_the_option_to_change() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        with pytest.raises(CdsError, match=f"Port {port} is in use.*--app-port"):
            refuse_taken_port(port, "--app-port")


def test_child_when_it_dies_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    with children(tmp_path) as started:
        command = [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"]
        child = started.start("EHR", command, {})
        child.process.wait()
        with pytest.raises(CdsError) as refused:
            started.refuse_death()
    assert refused.value.reason is Reason.UPSTREAM_FAILED
    assert "The EHR has stopped with exit status 3" in refused.value.sentence
    assert "the reason" in refused.value.sentence


def test_child_when_it_dies_while_waited_for_is_reported_at_once(tmp_path: Path) -> None:
    with children(tmp_path) as started:
        started.start("EHR", [sys.executable, "-c", ""], {})
        with pytest.raises(CdsError, match="has stopped"):
            started.wait_until_answers(free_port(), "/", patience_s=60)


def test_child_when_the_block_is_left_is_stopped(tmp_path: Path) -> None:
    port = free_port()
    with children(tmp_path) as started:
        child = started.start("EHR", [sys.executable, "-c", SERVER, str(port)], {})
        started.wait_until_answers(port, "/", patience_s=30)
        assert child.process.poll() is None
    assert child.process.poll() is not None
    refuse_taken_port(port, "--port")


def test_step_when_it_fails_says_what_could_not_be_done() -> None:
    with pytest.raises(CdsError, match=re.escape("could not make the database")):
        run_to_end([sys.executable, "-c", "raise SystemExit(1)"], {}, what="make the database")


def test_secrets_when_read_twice_are_the_same_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    first = shared_secrets(path)
    assert shared_secrets(path) == first
    assert len(first["client_secret"]) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_registration_when_made_permits_only_the_sandbox(tmp_path: Path) -> None:
    places = DemoPlaces(ehr_port=8101, app_port=8001)
    shared = shared_secrets(tmp_path / "secrets.json")
    registration = demo_registration(places, shared, ("urn:oid:1.2", "BREVIS"))
    assert registration.fhir_base_url == "http://localhost:8101/fhir"
    assert registration.origins == ("http://localhost:8101",)
    assert registration.frame_ancestors == ("http://localhost:8101",)
    assert registration.stage.value == "sandbox"
    assert (registration.mrn_system, registration.pacs_issuer) == ("urn:oid:1.2", "BREVIS")
    assert shared["client_secret"] not in repr(registration)
    assert places.app_url == "http://127.0.0.1:8001"


def test_state_when_copied_afresh_keeps_the_library_and_drops_the_run_before(
    tmp_path: Path,
) -> None:
    imported, running = tmp_path / "library", tmp_path / "running"
    (imported / "blobs" / "00").mkdir(parents=True)
    (imported / "blobs" / "00" / "picture").write_bytes(b"picture")
    (imported / "precedent.db").write_bytes(b"imported")
    running.mkdir()
    (running / "left-over").touch()
    fresh_copy(imported, running)
    (running / "precedent.db").write_bytes(b"changed by the run")
    assert (imported / "precedent.db").read_bytes() == b"imported"
    assert (running / "blobs" / "00" / "picture").read_bytes() == b"picture"
    assert not (running / "left-over").exists()
    assert stat.S_IMODE(running.stat().st_mode) == 0o700


def test_folder_when_made_by_other_code_is_not_complete(tmp_path: Path) -> None:
    code, made = tmp_path / "code", tmp_path / "made"
    code.mkdir()
    (code / "maker.py").write_text("first")
    begin(made)
    first = fingerprint([code])
    assert not is_complete(made, first)
    mark_complete(made, first)
    assert is_complete(made, first)
    (code / "maker.py").write_text("second")
    assert not is_complete(made, fingerprint([code]))
    begin(made)
    assert not is_complete(made, first)
