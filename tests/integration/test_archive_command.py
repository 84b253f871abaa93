"""`precedent library import --dicomweb URL --fhir URL` as a process, also one that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cds.adapters.storage import initialise, open_storage
from cds.cli.main import EXIT_REFUSED, main
from cds.domain.pixels import PixelFrame
from cds.domain.query import BlockWeights, Eligibility, FusedQuery
from cds.engine import engine_from_settings
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

    def __init__(
        self, pacs: LocalServer, ehr: LocalServer, fhir: RecordServer, state_dir: Path
    ) -> None:
        self.pacs = pacs
        self.ehr = ehr
        self.fhir = fhir
        self.state_dir = state_dir

    def arguments(self, *more: str) -> list[str]:
        return [
            *("library", "import", "--dicomweb", f"{self.pacs.url}/dicomweb"),
            *("--fhir", f"{self.ehr.url}/fhir", "--mrn-system", MRN_SYSTEM),
            *("--pacs-issuer", "HOSPITAL-A", "--permit-network", "127.0.0.0/8"),
            *(
                "--modality",
                "DX,CR",
                "--from",
                "2025-03-01",
                "--to",
                "2025-03-31",
                "--stable-seconds",
                "0",
            ),
            *("--no-index", "--json", *more),
        ]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PRECEDENT_STATE_DIR": str(self.state_dir),
            "PRECEDENT_DEVELOPMENT": "1",
        }

    def run(self, *more: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        capsys.readouterr()
        assert main(self.arguments(*LIBRARIAN, *more)) == 0
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]  # JSON

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # our own command
            [*PRECEDENT, *self.arguments(*LIBRARIAN, *more)],
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def held(self) -> list[tuple[str, int]]:
        storage = open_storage(Settings(state_dir=self.state_dir))
        cases = [(c.case_id, len(c.pictures)) for c in storage.catalogue.iter_cases()]
        storage.engine.dispose()
        return cases


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hospital]:
    fhir = RecordServer(*(r for n in range(1, N + 1) for r in numbered(the_record(), n)))
    fhir.token = None
    state_dir = tmp_path / "state"
    initialise(Settings(state_dir=state_dir))
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(state_dir))
    monkeypatch.setenv("PRECEDENT_DEVELOPMENT", "1")
    pacs = DicomwebServer(*(a_film(n) for n in range(1, N + 1)))
    with a_server(pacs) as pacs_server, a_server(fhir) as ehr_server:
        fhir.base_url = f"{ehr_server.url}/fhir"
        yield Hospital(pacs_server, ehr_server, fhir, state_dir)


def test_library_is_built_from_pacs_and_record(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = hospital.run(capsys=capsys)
    assert (summary["n_listed"], summary["n_imported"]) == (N, N)
    assert summary["stopped"] is None
    assert summary["library"]["n_cases"] == N
    assert summary["library"]["deidentification"]["counts"]["DICOM headers"] == N
    again = hospital.run(capsys=capsys)
    assert (again["n_imported"], again["n_asked_again"]) == (0, N)
    assert again["library"]["n_updated"] == 0


def test_report_is_read_with_its_negations(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "Left pleural effusion. No pneumothorax."
    for resource in hospital.fhir.resources:
        if resource["resourceType"] == "DiagnosticReport":
            resource.update(conclusion=text, conclusionCode=[])
    hospital.run(capsys=capsys)
    storage = open_storage(Settings(state_dir=hospital.state_dir))
    named = {f.coding.display: f for c in storage.catalogue.iter_cases() for f in c.findings}
    storage.engine.dispose()
    assert "Pleural effusion" in named
    assert named["Pleural effusion"].proof == "report"
    assert named["Pleural effusion"].known_at == datetime(2025, 3, 4, 10, tzinfo=UTC)
    assert not any("neumothorax" in display for display in named)


def test_later_knowledge_reaches_the_index_and_no_earlier_answer(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    records = hospital.fhir.resources
    hospital.fhir.resources = [r for r in records if r["resourceType"] != "DiagnosticReport"]
    arguments = [a for a in hospital.arguments(*LIBRARIAN) if a != "--no-index"]
    assert main(arguments) == 0
    first = ranked(hospital, as_of=datetime(2026, 11, 1, tzinfo=UTC))
    assert len(first) == N
    hospital.fhir.resources = [
        {**r, "issued": "2026-05-01T08:00:00Z"} if r["resourceType"] == "DiagnosticReport" else r
        for r in records
    ]
    assert main(arguments) == 0
    capsys.readouterr()
    assert len(ranked(hospital, as_of=datetime(2026, 5, 2, tzinfo=UTC))) == N
    assert ranked(hospital, as_of=datetime(2026, 4, 30, tzinfo=UTC)) == []


def ranked(hospital: Hospital, *, as_of: datetime) -> list[str]:
    """Cases of the current index that an answer of that time may use."""
    engine = engine_from_settings(Settings(state_dir=hospital.state_dir))
    frame = PixelFrame(np.eye(32, dtype=np.float32), content_sha256="")
    embedding = engine.embedder.embed([frame])[0].vector
    owner = next(iter(engine.storage.catalogue.iter_cases())).owner_ehr_id
    query = FusedQuery(BlockWeights(), image=embedding)
    eligible = Eligibility(known_before=as_of, ehr_id=owner)
    ranking = engine.library.rank(query, eligible, cutoff=10)
    stranger = Eligibility(known_before=as_of, ehr_id="another")
    assert engine.library.rank(query, stranger, cutoff=10).hits == ()
    engine.storage.engine.dispose()
    return [hit.case.case_id for hit in ranking.hits]


def test_library_is_built_from_a_bulk_export(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = hospital.run("--bulk", capsys=capsys)
    assert summary["n_imported"] == N
    assert list(hospital.state_dir.glob("export-*")) == []


def test_dry_run_keeps_nothing(hospital: Hospital, capsys: pytest.CaptureFixture[str]) -> None:
    found = hospital.run("--dry-run", capsys=capsys)
    assert (found["n_listed"], found["n_joined"]) == (N, N)
    assert hospital.held() == []


def test_opt_out_list_keeps_its_people_out(
    hospital: Hospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = tmp_path / "objections.txt"
    numbers.write_text(f"# objections\nP100-2\n{MRN_SYSTEM}|P100-3\n")
    summary = hospital.run("--opt-out", str(numbers), capsys=capsys)
    assert (summary["n_kept_out"], summary["n_imported"]) == (2, N - 2)


@pytest.mark.parametrize("n_asked", [5, 16, 27])
def test_import_that_is_killed_ends_like_an_undisturbed_one(
    hospital: Hospital, n_asked: int, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = hospital.ehr.answer
    started: list[subprocess.Popen[bytes]] = []

    def kills(asked: Asked) -> Any:
        if len(hospital.ehr.asked) == n_asked:
            started[0].send_signal(signal.SIGKILL)
            started[0].wait()
        return answer(asked)

    hospital.ehr.answer = kills
    started.append(hospital.start("--lease-seconds", "1"))
    assert started[0].wait() == -signal.SIGKILL
    hospital.ehr.answer = answer
    hospital.run("--lease-seconds", "1", capsys=capsys)
    assert len(hospital.held()) == N
    assert {n for _, n in hospital.held()} == {1}


@pytest.mark.parametrize(
    "left_out", [("--librarian", "Dr. Lib"), ("--legal-basis", "law")], ids=["no basis", "nobody"]
)
def test_import_without_a_librarian_or_a_right_is_refused(
    hospital: Hospital,
    left_out: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(hospital.arguments(*left_out)) == EXIT_REFUSED
    assert "librarian's act" in capsys.readouterr().err
    assert hospital.pacs.asked == []
    assert hospital.ehr.asked == []


@pytest.mark.usefixtures("hospital")
def test_ehr_that_is_not_registered_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["library", "import", "--ehr", "nobody", *LIBRARIAN]) == EXIT_REFUSED
    assert "No such EHR is registered" in capsys.readouterr().err
