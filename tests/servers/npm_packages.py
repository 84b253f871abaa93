"""Packages of npm for tests, installed from a committed lock into the cache folder."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.conftest import missing
from tests.servers.foreign_process import CACHE, missing_program, run_to_end

PROGRAMS = {"node": "nodejs", "npm": "npm"}
OLDEST_NODE = (20, 19)  # what Medplum's packages ask for
INSTALL_S = 300


def installed_packages(sources: Path) -> Path:
    """Return the folder with the packages of a lock, and beside them the scripts of `sources`."""
    absent = missing_program(PROGRAMS) or _old_node()
    if absent:
        missing(absent)
    digest = hashlib.sha256((sources / "package-lock.json").read_bytes()).hexdigest()
    folder = CACHE / f"{sources.name}-{digest[:16]}"
    if not (folder / "installed").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(sources / name, folder)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        run_to_end(command, folder=folder, within_s=INSTALL_S)
        (folder / "installed").touch()
    for script in sources.glob("*.mjs"):  # they find their packages beside themselves
        shutil.copy(script, folder)
    return folder


def _old_node() -> str | None:
    done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    version = tuple(map(int, done.stdout.strip().lstrip("v").split(".")))
    if version >= OLDEST_NODE:
        return None
    return f"Node {'.'.join(map(str, OLDEST_NODE))} or newer is needed; this is {done.stdout[1:6]}."
