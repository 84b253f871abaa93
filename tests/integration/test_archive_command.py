"""`precedent library import --dicomweb URL --fhir URL` as a process, also one that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cds.adapters.storage import initialise, open_storage
from cds.cli.main import EXIT_REFUSED, main
from cds.settings import Settings
from tests.builders.dicom import STUDY_INSTANCE_UID
from tests.builders.fhir import MRN_SYSTEM
from tests.builders.hospital_record import numbered, the_film, the_record
from tests.fakes.dicomweb_server import DicomwebServer
from tests.fakes.http_server import Asked, LocalServer, a_server
from tests.fakes.record_server import RecordServer

N = 3
PRECEDENT = (
    sys.executable,
    "-c",
    "import sys; from cds.cli.main import main; sys.exit(main())",
)
LIBRARIAN = ("--librarian", "Dr. Lib", "--legal-basis", "ethics vote 12/2026")


def a_film(number: int) -> bytes:
    noise = np.random.default_rng(number).integers(0, 4096, (48, 64), dtype=np.uint16)
    uid = f"{STUDY_INSTANCE_UID}.{number}"
    return the_film(
        stored=noise,
        StudyInstanceUID=uid,
        SeriesInstanceUID=f"{uid}.1",
        SOPInstanceUID=f"{uid}.1.1",
        PatientID=f"P100-{number}",
        AccessionNumber=f"A-1-{number}",
    )


class Hospital:
    """A PACS and a FHIR server on loopback, and the command over them."""

    def __init__(self, pacs: LocalServer, ehr: LocalServer, state_dir: Path) -> None:
        self.pacs = pacs
        self.ehr = ehr
        self.state_dir = state_dir

    def arguments(self, *more: str) -> list[str]:
        return [
            *("library", "import", "--dicomweb", f"{self.pacs.url}/dicomweb"),
            *("--fhir", f"{self.ehr.url}/fhir", "--mrn-system", MRN_SYSTEM),
            *("--pacs-issuer", "HOSPITAL-A", "--permit-network", "127.0.0.0/8"),
            *("--from", "2025-03-01", "--to", "2025-03-31", "--stable-seconds", "0"),
            *("--no-index", "--json", *more),
        ]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PRECEDENT_STATE_DIR": str(self.state_dir),
            "PRECEDENT_DEVELOPMENT": "1",
        }

    def run(self, *more: str) -> dict[str, Any]:
        command = [*PRECEDENT, *self.arguments(*LIBRARIAN, *more)]
        done = subprocess.run(  # our own command
            command, env=self.environment(), capture_output=True, check=False, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]  # JSON

    def held(self) -> list[tuple[str, int]]:
        storage = open_storage(Settings(state_dir=self.state_dir))
        cases = [(c.case_id, len(c.pictures)) for c in storage.catalogue.iter_cases()]
        storage.engine.dispose()
        return cases


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    fhir = RecordServer(*(r for n in range(1, N + 1) for r in numbered(the_record(), n)))
    fhir.token = None
    state_dir = tmp_path / "state"
    initialise(Settings(state_dir=state_dir))
    pacs = DicomwebServer(*(a_film(n) for n in range(1, N + 1)))
    with a_server(pacs) as pacs_server, a_server(fhir) as ehr_server:
        fhir.base_url = f"{ehr_server.url}/fhir"
        yield Hospital(pacs_server, ehr_server, state_dir)


def test_library_is_built_from_pacs_and_record(hospital: Hospital) -> None:
    summary = hospital.run()
    assert (summary["n_listed"], summary["n_imported"]) == (N, N)
    assert summary["stopped"] is None
    assert summary["library"]["n_cases"] == N
    again = hospital.run()
    assert (again["n_imported"], again["n_asked_again"]) == (0, N)
    assert again["library"]["n_updated"] == 0


def test_library_is_built_from_a_bulk_export(hospital: Hospital) -> None:
    summary = hospital.run("--bulk")
    assert summary["n_imported"] == N
    assert list(hospital.state_dir.glob("export-*")) == []


def test_dry_run_keeps_nothing(hospital: Hospital) -> None:
    found = hospital.run("--dry-run")
    assert (found["n_listed"], found["n_joined"]) == (N, N)
    assert hospital.held() == []


def test_opt_out_list_keeps_its_people_out(hospital: Hospital, tmp_path: Path) -> None:
    numbers = tmp_path / "objections.txt"
    numbers.write_text(f"# objections\nP100-2\n{MRN_SYSTEM}|P100-3\n")
    summary = hospital.run("--opt-out", str(numbers))
    assert (summary["n_kept_out"], summary["n_imported"]) == (2, N - 2)


@pytest.mark.parametrize("n_asked", [5, 16])
def test_import_that_is_killed_ends_like_an_undisturbed_one(
    hospital: Hospital, n_asked: int
) -> None:
    command = [*PRECEDENT, *hospital.arguments(*LIBRARIAN, "--lease-seconds", "1")]
    answer = hospital.ehr.answer
    process: subprocess.Popen[bytes] | None = None

    def kills(asked: Asked) -> Any:
        if process is not None and len(hospital.ehr.asked) == n_asked:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return answer(asked)

    hospital.ehr.answer = kills
    process = subprocess.Popen(  # our own command
        command,
        env=hospital.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.wait() == -signal.SIGKILL
    hospital.ehr.answer = answer
    hospital.run("--lease-seconds", "1")
    assert len(hospital.held()) == N
    assert {n for _, n in hospital.held()} == {1}


@pytest.mark.parametrize(
    "left_out", [("--librarian", "Dr. Lib"), ("--legal-basis", "law")], ids=["no basis", "nobody"]
)
def test_import_without_a_librarian_or_a_right_is_refused(
    hospital: Hospital,
    left_out: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(hospital.state_dir))
    assert main(hospital.arguments(*left_out)) == EXIT_REFUSED
    assert "librarian's act" in capsys.readouterr().err
    assert hospital.pacs.asked == []
    assert hospital.ehr.asked == []


def test_ehr_that_is_not_registered_is_refused(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(hospital.state_dir))
    assert main(["library", "import", "--ehr", "nobody", *LIBRARIAN]) == EXIT_REFUSED
    assert "No such EHR is registered" in capsys.readouterr().err
