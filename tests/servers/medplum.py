"""Medplum's FHIR router over its memory repository: an EHR without links that ignores _include."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.servers.fhir_client import FhirClient
from tests.servers.foreign_process import CACHE, missing_program, run_to_end, server_process

SOURCES = Path(__file__).resolve().parent / "medplum"
PROGRAMS = {"node": "nodejs", "npm": "npm"}
READY = re.compile(r"^Ready at (\S+)$", re.MULTILINE)
OLDEST_NODE = (20, 19)  # "engines" in its package.json
INSTALL_S, START_S = 300, 60


@pytest.fixture(scope="session")
def node_packages() -> Path:
    """The folder of the installed packages; installed anew when the lock has changed."""
    absent = missing_program(PROGRAMS) or _old_node()
    if absent:
        missing(absent)
    digest = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()
    folder = CACHE / f"medplum-{digest[:16]}"
    if not (folder / "installed").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCES / name, folder)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        run_to_end(command, folder=folder, within_s=INSTALL_S)
        (folder / "installed").touch()
    return folder


def _old_node() -> str | None:
    done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    version = tuple(map(int, done.stdout.strip().lstrip("v").split(".")))
    if version >= OLDEST_NODE:
        return None
    return f"Node {'.'.join(map(str, OLDEST_NODE))} or newer is needed; this is {done.stdout[1:6]}."


@pytest.fixture(scope="session")
def medplum(node_packages: Path, artifacts_dir: Path) -> Iterator[FhirClient]:
    """The weak EHR, empty at first."""
    shutil.copy(SOURCES / "server.mjs", node_packages)  # it finds its packages beside itself
    command = ["node", str(node_packages / "server.mjs")]
    log = artifacts_dir / "medplum.log"
    with server_process(command, ready=READY, log=log, within_s=START_S) as base_url:
        yield FhirClient(base_url)
