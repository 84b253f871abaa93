"""bootstrap.py: what it takes from the lock, when it installs again, and what it says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap import HINTS, ROOT, Environment, SetupError, lock_part

LOCK_TEXT = """# head
# --- part: runtime ---
a==1 \\
    --hash=sha256:00

# --- part: dev ---
b==2 \\
    --hash=sha256:11
"""


def an_environment(folder: Path) -> Environment:
    """Return an environment whose interpreter is there and whose stamp fits this tree."""
    environment = Environment(folder)
    environment.python.parent.mkdir(parents=True)
    environment.python.symlink_to(sys.executable)
    stamp = {"made_from": environment.wanted(), "parts": ["build", "runtime"]}
    environment.stamp.write_text(json.dumps(stamp))
    return environment


def test_lock_part_when_asked_for_one_holds_only_its_lines() -> None:
    assert lock_part(LOCK_TEXT, "runtime") == "a==1 \\\n    --hash=sha256:00\n"
    assert lock_part(LOCK_TEXT, "dev") == "b==2 \\\n    --hash=sha256:11\n"


def test_lock_part_when_it_is_not_there_is_refused_with_its_name() -> None:
    with pytest.raises(SetupError, match="no part 'bench'"):
        lock_part(LOCK_TEXT, "bench")


def test_installed_when_the_stamp_fits_names_its_parts(tmp_path: Path) -> None:
    assert an_environment(tmp_path / "venv").installed() == {"runtime", "build"}


@pytest.mark.parametrize(
    "stamp",
    [
        pytest.param("{}", id="empty"),
        pytest.param('{"made_from": "another", "parts": ["runtime"]}', id="another-lock"),
        pytest.param("{", id="cut-off"),
    ],
)
def test_installed_when_the_stamp_does_not_fit_is_nothing(tmp_path: Path, stamp: str) -> None:
    environment = an_environment(tmp_path / "venv")
    environment.stamp.write_text(stamp)
    assert environment.installed() == set()


def test_installed_when_the_interpreter_is_gone_is_nothing(tmp_path: Path) -> None:
    environment = an_environment(tmp_path / "venv")
    environment.python.unlink()
    assert environment.installed() == set()


def test_prepare_when_all_is_there_leaves_the_folder_alone(tmp_path: Path) -> None:
    environment = an_environment(tmp_path / "venv")
    before = environment.stamp.stat().st_mtime_ns
    environment.prepare(("runtime", "build"))
    assert environment.stamp.stat().st_mtime_ns == before


def test_hints_when_an_index_is_unreachable_name_the_network() -> None:
    output = "ERROR: No matching distribution found for alembic==1.20.1"
    hints = [hint for pattern, hint in HINTS if re.search(pattern, output)]
    assert len(hints) == 1
    assert "PIP_INDEX_URL" in hints[0]


def test_bootstrap_when_python_cannot_make_environments_says_what_to_install(
    tmp_path: Path,
) -> None:
    (tmp_path / "ensurepip.py").write_text("raise ImportError('left out by the distribution')\n")
    done = subprocess.run(
        [sys.executable, "bootstrap.py", "test"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "apt-get install python3." in done.stderr
    assert "Traceback" not in done.stderr


def test_install_script_when_it_reads_the_lock_takes_the_same_part_as_bootstrap() -> None:
    script = (ROOT / "deploy/install.sh").read_text()
    function = script[script.index("part() {") : script.index("part runtime >")]
    done = subprocess.run(
        ["sh", "-c", f"here={ROOT}\n{function}\npart build"],
        capture_output=True,
        text=True,
        check=True,
    )
    lock = (ROOT / "requirements.lock").read_text()
    assert done.stdout.strip() == lock_part(lock, "build").strip()
