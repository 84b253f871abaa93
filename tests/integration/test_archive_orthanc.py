"""A library out of Debian's Orthanc, a PACS that we did not write, and a FHIR server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cds.adapters.storage import initialise, open_storage
from cds.cli.main import main
from cds.settings import Settings
from tests.builders.dicom import STUDY_INSTANCE_UID
from tests.builders.fhir import MRN_SYSTEM
from tests.builders.hospital_record import numbered, the_film, the_record
from tests.fakes.http_server import a_server
from tests.fakes.record_server import RecordServer
from tests.servers.orthanc import Orthanc

N = 3


def a_film(number: int) -> bytes:
    noise = np.random.default_rng(number).integers(0, 4096, (64, 48), dtype=np.uint16)
    uid = f"{STUDY_INSTANCE_UID}.{number}"
    return the_film(
        stored=noise,
        StudyInstanceUID=uid,
        SeriesInstanceUID=f"{uid}.1",
        SOPInstanceUID=f"{uid}.1.1",
        PatientID=f"P100-{number}",
        AccessionNumber=f"A-1-{number}",
    )


def test_library_is_built_from_orthanc_and_a_record(
    orthanc: Orthanc,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    orthanc.store(*(a_film(n) for n in range(1, N + 1)))
    settings = Settings(state_dir=tmp_path / "state")
    initialise(settings)
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(settings.state_dir))
    monkeypatch.setenv("PRECEDENT_DEVELOPMENT", "1")
    # The record knows all but the last one.
    fhir = RecordServer(*(r for n in range(1, N) for r in numbered(the_record(), n)))
    fhir.token = None
    with a_server(fhir) as server:
        fhir.base_url = f"{server.url}/fhir"
        command = [
            *("library", "import", "--dicomweb", orthanc.dicomweb_url, "--fhir", fhir.base_url),
            *("--mrn-system", MRN_SYSTEM, "--pacs-issuer", "HOSPITAL-A"),
            *("--permit-network", "127.0.0.0/8", "--stable-seconds", "0", "--no-index", "--json"),
            *("--from", "2025-01-01", "--to", "2025-12-31", "--modality", "DX"),
            *("--librarian", "Dr. Lib", "--legal-basis", "ethics vote 12/2026"),
        ]
        assert main(command) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["n_listed"], summary["n_imported"], summary["n_not_recorded"]) == (N, N - 1, 1)
    storage = open_storage(settings)
    cases = list(storage.catalogue.iter_cases())
    storage.engine.dispose()
    assert [len(case.pictures) for case in cases] == [1] * (N - 1)
    assert {case.findings[0].coding.code for case in cases} == {"233604007"}
