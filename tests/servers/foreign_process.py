"""Processes of servers that we did not write: started, awaited by what they print, ended."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache" / "interop"
END_S = 30
ADVICE = "apt-get install --no-install-recommends"


def missing_program(names: Mapping[str, str]) -> str | None:
    """Return a sentence about the first program that is not there; `names` to Debian packages."""
    absent = [name for name in names if shutil.which(name) is None]
    if not absent:
        return None
    return f"{absent[0]} is missing: {ADVICE} {' '.join(names.values())}."


@contextmanager
def server_process(
    command: Sequence[str],
    *,
    ready: re.Pattern[str],
    log: Path,
    within_s: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Run a server; yields the first group of the line that says that it is ready."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=folder, env=environment
        )
    try:
        yield _address(process, ready, log, within_s)
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(
    process: subprocess.Popen[bytes], ready: re.Pattern[str], log: Path, within_s: float
) -> str:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        found = ready.search(log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.2)
    last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
    pytest.fail("\n".join([f"{Path(log).stem} did not start; its log ends:", *last]))


def run_to_end(command: Sequence[str], *, folder: Path, within_s: float) -> None:
    """Run a build step; its last lines are the failure."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=within_s
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()[-20:]
        pytest.fail("\n".join([f"{' '.join(command[:2])} failed:", *lines]))
