"""`precedent ehr add` and `check` against the running sandbox hospital, as a newcomer would."""

from __future__ import annotations

import json
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from cds.adapters.storage import open_storage
from cds.cli.main import main
from cds.settings import Settings
from sandbox.web.accounts import ACCOUNTS
from sandbox.web.application import create_app, open_hospital
from sandbox.web.hospital import Hospital
from sandbox.web.places import Places, SharedSecrets
from sandbox.web.switches import ServerState
from tests.fakes.http_server import Asked, LocalServer, Reply, a_server
from tests.integration.sandbox.records import MRN_SYSTEM, write_records

SIDE_PX = 256


class Silent(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write nothing."""


@dataclass
class Running:
    """A sandbox EHR on a free port, and the address where it fetches our keys."""

    hospital: Hospital
    product: LocalServer
    state_dir: Path

    @property
    def url(self) -> str:
        return self.hospital.places.base_url

    def add(self, folder: Path, *flags: str) -> int:
        password = folder / "pacs-password"
        password.touch(mode=0o600)
        password.write_text(self.hospital.secrets.pacs_password)
        return main(
            [
                *(
                    "ehr",
                    "add",
                    "st-brevis",
                    "--name",
                    "St. Brevis",
                    "--client-id",
                    "precedent-app",
                ),
                *("--fhir-base-url", f"{self.url}/fhir", "--permitted-network", "127.0.0.1"),
                *("--permitted-network", "::1", "--stage", "sandbox", "--mrn-system", MRN_SYSTEM),
                *("--default-pacs-url", f"{self.url}/dicomweb", "--pacs-user", "precedent"),
                *("--pacs-password-file", str(password), "--time-zone", "Europe/Berlin"),
                *("--cds-client", f"{self.url}/ehr={self.url}/.well-known/cds-hooks-jwks.json"),
                *("--backend-client-id", "precedent-backend"),
                *flags,
            ]
        )


def a_film(path: Path) -> None:
    """Turn a picture of the records into one that is large enough to be compared."""
    dataset = pydicom.dcmread(path)
    pixels = np.random.default_rng(0).integers(0, 4096, (SIDE_PX, SIDE_PX), dtype="<u2")
    dataset.Rows = dataset.Columns = SIDE_PX
    dataset.PixelData = pixels.tobytes()
    dataset.ViewPosition, dataset.ImageLaterality = "PA", "U"
    dataset.BodyPartExamined = "CHEST"
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    data = write_records(tmp_path / "tryout")
    for path in data.glob("dicom/2.25.[12]001/*.dcm"):
        a_film(path)
    state_dir = tmp_path / "state"
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(state_dir))
    monkeypatch.setenv("PRECEDENT_DEVELOPMENT", "true")
    monkeypatch.setenv("COLUMNS", "400")
    assert main(["init"]) == 0

    def published_keys(asked: Asked) -> Reply:
        if asked.path.endswith("/cds-services"):
            return Reply.json({"services": []})
        storage = open_storage(Settings(state_dir=state_dir, development=True))
        keys = storage.backend_keys.key_set(asked.path.split("/")[2])
        storage.engine.dispose()
        return Reply.json(keys)

    with a_server(published_keys) as product, socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("PRECEDENT_PUBLIC_URL", product.url)
        places = Places(
            base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", app_url=product.url
        )
        shared = SharedSecrets(
            client_secret=secrets.token_urlsafe(16),
            pacs_password=secrets.token_urlsafe(16),
            session_key=secrets.token_urlsafe(16),
        )
        hospital = open_hospital(data, places, shared)
        server = make_server(
            *("127.0.0.1", 0, create_app(hospital)),
            threaded=True,
            request_handler=Silent,
            fd=listening.fileno(),
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield Running(hospital, product, state_dir)
        server.shutdown()
        server.server_close()
        thread.join()


def checked(
    capsys: pytest.CaptureFixture[str], *flags: str
) -> tuple[int, dict[str, Any], dict[str, Any]]:
    capsys.readouterr()
    status = main(["ehr", "check", "st-brevis", "--json", *flags])
    document = json.loads(capsys.readouterr().out)
    connections = {line["name"]: line for line in document["connections"]}
    return status, connections, {line["name"]: line for line in document["readiness"]}


def test_check_when_the_sandbox_is_registered_passes_every_connection(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert running.add(tmp_path) == 0
    shown = capsys.readouterr().out
    assert f"{running.product.url}/t/st-brevis/jwks.json" in shown
    assert running.hospital.secrets.pacs_password not in shown
    status, connections, readiness = checked(
        capsys, "--test-patient", "anne", "--test-patient", "ben"
    )
    assert {n: one["verdict"] for n, one in connections.items() if "tls" not in n} == dict.fromkeys(
        [
            *("own discovery", "own key set"),
            *("fhir dns", "fhir tcp", "fhir capability", "fhir clock", "smart configuration"),
            *("backend token", "backend scopes", "fhir search", "fhir paging"),
            *("pacs qido", "pacs wado", "hook keys"),
        ],
        "PASS",
    )
    assert len(readiness) == 14
    imaging = readiness["6 imaging of test patients"]
    assert imaging["verdict"] == "PASS"
    assert "of 2 asked 2 found in the PACS, 2 of the same identity" in imaging["evidence"]
    labs = readiness["7 laboratory codes and units"]
    assert labs["evidence"].startswith("LOINC 11 of 11 (100 %), UCUM 0 of 11")
    assert labs["verdict"] == "FAIL"  # these records name no unit system
    films = readiness["9 chest films"]
    assert films["verdict"] == "PASS"
    assert "Explicit VR Little Endian" in films["evidence"]
    assert readiness["10 time zones"]["verdict"] == "PASS"
    assert readiness["13 library"]["verdict"] == "FAIL"  # nothing was imported
    assert readiness["14 stage and approvals"]["verdict"] == "PASS"
    assert status == 1


def test_check_when_it_prints_names_no_patient_and_no_secret(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running.add(tmp_path)
    capsys.readouterr()
    main(["ehr", "check", "st-brevis", "--test-patient", "anne", "--test-patient", "nobody"])
    shown = capsys.readouterr().out
    for said in ("anne", "Archer", "10001", "ACC-1", "1951", "2.25.1001"):
        assert said not in shown
    assert running.hospital.secrets.pacs_password not in shown
    tokens = [r.access_token for r in running.hospital.grants._tokens.values()]
    assert tokens
    assert not any(token in shown for token in tokens)


def test_check_when_the_picture_is_of_another_patient_fails_line_six(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running.add(tmp_path, "--pacs-issuer", "ANOTHER-ISSUER")
    path = next((tmp_path / "tryout" / "dicom" / "2.25.1001").glob("*.dcm"))
    dataset = pydicom.dcmread(path)
    dataset.PatientID = "99999"
    dataset.save_as(path, enforce_file_format=True)
    _, _, readiness = checked(capsys, "--test-patient", "anne")
    line = readiness["6 imaging of test patients"]
    assert line["verdict"] == "FAIL"
    assert "differing: patient ID" in line["evidence"]
    assert "99999" not in str(readiness)


def test_check_when_the_pacs_is_down_fails_there_and_only_there(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running.add(tmp_path)
    running.hospital.pacs_switch.turn(ServerState.DOWN)
    status, connections, _ = checked(capsys, "--test-patient", "anne")
    failing = {name for name, line in connections.items() if line["verdict"] == "FAIL"}
    assert failing == {"pacs qido", "pacs wado"}
    assert "503" in connections["pacs qido"]["evidence"]
    assert status == 1


def test_check_when_keys_were_rotated_still_signs_in(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running.add(tmp_path)
    assert main(["ehr", "keys", "st-brevis", "--rotate"]) == 2  # the next key is too young
    assert main(["ehr", "keys", "st-brevis", "--rotate", "--force"]) == 0
    _, connections, _ = checked(capsys)
    assert connections["backend token"]["verdict"] == "PASS"
    assert main(["ehr", "add", "st-brevis", "--replace", "--backend-algorithm", "RS384"]) == 0
    _, connections, _ = checked(capsys)
    assert connections["backend token"]["verdict"] == "PASS"


def test_check_when_a_token_is_given_reads_with_it(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running.add(tmp_path)
    main(["ehr", "remove", "st-brevis", "--yes"])
    running.add(tmp_path, "--backend-client-id", "")
    token = running.hospital.grants.issue_own(
        ACCOUNTS[0], client_id="t", scope="patient/*.rs", patient_id="anne", lifetime_s=300
    )
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(token.access_token)
    _, connections, readiness = checked(capsys, "--test-patient", "anne", "--token-file", str(path))
    assert connections["backend token"]["verdict"] == "UNKNOWN"
    assert connections["fhir search"]["verdict"] == "PASS"
    assert readiness["6 imaging of test patients"]["verdict"] == "PASS"


def test_check_when_an_image_server_is_not_registered_names_it(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = dict(running.hospital.store.read("Endpoint", "pacs") or {})
    endpoint["address"] = "https://pacs.example.invalid:8443/dicom-web"
    running.hospital.store.put(endpoint)
    running.add(tmp_path)
    _, connections, _ = checked(capsys, "--test-patient", "anne")
    line = connections["imaging endpoint"]
    assert line["verdict"] == "WARN"
    assert "--origin https://pacs.example.invalid:8443" in line["action"]
    assert connections["pacs wado"]["verdict"] == "PASS"  # the default PACS has it
