"""SUSHI, the compiler of FHIR Shorthand, with FHIR's core package made from npm's definitions."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.foreign_process import run_to_end
from tests.servers.npm_packages import installed_packages

SOURCES = Path(__file__).resolve().parent / "sushi"
CORE_S, COMPILE_S = 120, 600
Compile = Callable[[Path], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def compile_fsh() -> Compile:
    """A function that compiles a folder with `sushi-config.yaml` in place."""
    packages = installed_packages(SOURCES)
    if not (packages / "core-made").is_file():
        command = ["node", str(packages / "core.mjs"), str(packages)]
        run_to_end(command, folder=packages, within_s=CORE_S)
        (packages / "core-made").touch()

    def compiled(room: Path) -> subprocess.CompletedProcess[str]:
        command = [str(packages / "node_modules" / ".bin" / "sushi"), "build", str(room)]
        environment = os.environ | {"HOME": str(packages)}
        return subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMPILE_S,
            check=False,
        )

    return compiled
