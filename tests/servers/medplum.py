"""Medplum's FHIR router over its memory repository: an EHR without links that ignores _include."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.fhir_client import FhirClient
from tests.servers.foreign_process import server_process
from tests.servers.npm_packages import installed_packages

SOURCES = Path(__file__).resolve().parent / "medplum"
READY = re.compile(r"^Ready at (\S+)$", re.MULTILINE)
START_S = 60


@pytest.fixture(scope="session")
def medplum(artifacts_dir: Path) -> Iterator[FhirClient]:
    """The weak EHR, empty at first."""
    command = ["node", str(installed_packages(SOURCES) / "server.mjs")]
    log = artifacts_dir / "medplum.log"
    with server_process(command, ready=READY, log=log, within_s=START_S) as base_url:
        yield FhirClient(base_url)
