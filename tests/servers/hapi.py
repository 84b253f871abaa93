"""HAPI FHIR JPA: a strict EHR with paging links, `_include` and a cache of searches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.servers.fhir_client import FhirClient
from tests.servers.foreign_process import server_process

READY = re.compile(r"^Ready at (\S+)$", re.MULTILINE)
START_S = 420  # 14 s on an idle machine
MAIN = "precedent.interop.FhirServer"


def hapi_process(java_build: Path, log: Path, *token_check: str) -> AbstractContextManager[str]:
    """Run HAPI; with issuer and audience it refuses requests without a token."""
    classes = f"{java_build / 'fhir-server-1.jar'}:{java_build / 'libraries'}/*"
    command = ["java", "-Xmx768m", "-XX:+UseSerialGC", "-cp", classes, MAIN, *token_check]
    return server_process(command, ready=READY, log=log, within_s=START_S)


@pytest.fixture(scope="session")
def hapi(java_build: Path, artifacts_dir: Path) -> Iterator[FhirClient]:
    """HAPI as it comes: no check of tokens, searches cached for 60 s."""
    with hapi_process(java_build, artifacts_dir / "hapi.log") as base_url:
        yield FhirClient(base_url)
