"""The Java servers of the interoperability tests, built once by Maven into the cache folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.servers.foreign_process import CACHE, ROOT, missing_program, run_to_end

PROJECT = ROOT / "tests" / "interop" / "java"
BUILD = CACHE / "java"
PROGRAMS = {"java": "openjdk-17-jdk-headless", "mvn": "maven"}
BUILD_S = 900  # cold, 400 MB are downloaded


@pytest.fixture(scope="session")
def java_build() -> Path:
    """The folder with HAPI's libraries, our jar and Keycloak; built when the sources changed."""
    absent = missing_program(PROGRAMS)
    if absent:
        missing(absent)
    stamp, wanted = BUILD / "made-from", _sources_hash()
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        BUILD.mkdir(parents=True, exist_ok=True)
        command = ["mvn", "--batch-mode", "--quiet", f"-Dbuild.folder={BUILD}", "package"]
        run_to_end(command, folder=PROJECT, within_s=BUILD_S)
        stamp.write_text(wanted, encoding="utf-8")
    return BUILD


def _sources_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted([PROJECT / "pom.xml", *PROJECT.rglob("*.java")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()
