#!/usr/bin/env python3
"""Set up Precedent on a machine that has only Python, then run one of its targets.

python3 bootstrap.py demo          a synthetic hospital to walk through, in a browser
python3 bootstrap.py test          the whole test suite, doctests included
python3 bootstrap.py check         linters, types, spelling, file sizes
python3 bootstrap.py test-interop  against HAPI FHIR, Keycloak and others (needs Java 17, Maven)
python3 bootstrap.py test-train    the tests of model training (installs torch, 4.7 GB)
python3 bootstrap.py bench         benchmarks, as ratios (needs a C++ compiler)
python3 bootstrap.py setup         the environment alone

Arguments after ``--`` go to the target: ``python3 bootstrap.py test -- -k ranking``.
Standard library only, and readable by older interpreters, so that they can say what is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
POSTGRESQL = Path("/usr/lib/postgresql/15/bin/initdb")  # where Debian puts what the tests need
OLDEST, TOO_NEW = (3, 11), (3, 14)
PARTS = {
    "demo": ("runtime", "build"),
    "setup": ("runtime", "build", "evaluate", "dev"),
    "test": ("runtime", "build", "evaluate", "dev"),
    "test-interop": ("runtime", "build", "evaluate", "dev"),
    "check": ("runtime", "build", "evaluate", "dev"),
    "bench": ("runtime", "build", "bench"),
    "test-train": ("runtime", "build", "evaluate", "dev"),
}
CHECKS = (
    ("ruff check", ["-m", "ruff", "check", "."]),
    ("ruff format", ["-m", "ruff", "format", "--check", "."]),
    ("mypy", ["-m", "mypy"]),
    ("codespell", ["-m", "codespell_lib"]),
    ("files", ["deploy/tree_check.py"]),
)
HINTS = (
    (
        r"name resolution|Connection|Network is unreachable|timed out|No matching distribution",
        "The Python package index could not be reached. Connect to the network, or point pip to a "
        "mirror with PIP_INDEX_URL, and run the same command again: it goes on where it stopped.",
    ),
    (
        r"DO NOT MATCH THE HASHES",
        "A downloaded package differs from the one in requirements.lock. Do not go on: empty pip's "
        "cache (pip cache purge), try again, and report it if it stays.",
    ),
    (r"No space left", "The disk is full: 2 GB are needed (9 GB for test-train)."),
    (
        r"error: command .*(gcc|g\+\+|cc)|Failed (to build|building wheel)",
        "A package has to be compiled: install a C++ compiler and Python's headers "
        "(Debian, Ubuntu: apt-get install g++ python3-dev).",
    ),
)


class SetupError(Exception):
    """The environment cannot be made; the text says what to do about it."""


def say(text: str) -> None:
    """Print one line at once, so that it stays in order with the output of other programs."""
    print(text, flush=True)


def check_interpreter() -> None:
    """Refuse an interpreter that the product does not run on.

    Raises
    ------
    SetupError
        If this Python is too old, too new, or cannot make virtual environments.

    """
    running = tuple(sys.version_info[:2])
    if not OLDEST <= running < TOO_NEW:
        others = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
        advice = f"run it with {others[0]}" if others else "install Python 3.11, 3.12 or 3.13"
        message = (
            f"Precedent needs Python 3.11 to 3.13; this is {sys.version.split()[0]}: {advice}."
        )
        raise SetupError(message)
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as missing:
        version = ".".join(map(str, running))
        message = (
            "This Python cannot make virtual environments. Debian, Ubuntu: "
            f"apt-get install python{version}-venv (or python3-venv); "
            "elsewhere: install the full Python package."
        )
        raise SetupError(message) from missing


def lock_part(lock_text: str, part: str) -> str:
    """Return the lines of one part of the lock file.

    Parameters
    ----------
    lock_text
        The text of requirements.lock.
    part
        ``runtime``, ``build``, ``evaluate``, ``dev`` or ``bench``.

    Returns
    -------
    str
        Requirement lines with hashes.

    Raises
    ------
    SetupError
        If the lock has no such part.

    """
    pieces = re.split(r"^# --- part: (\S+) ---$", lock_text, flags=re.MULTILINE)
    parts = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    if part not in parts:
        message = f"requirements.lock has no part {part!r}: get the file of this version again."
        raise SetupError(message)
    return parts[part].strip() + "\n"


class Environment:
    """A virtual environment of the tree, with a stamp of what was installed from which lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.stamp = folder / "precedent-installed.json"

    def wanted(self) -> str:
        """Hash what the environment is made from; another hash means: install again."""
        digest = hashlib.sha256(".".join(map(str, sys.version_info[:2])).encode())
        for path in (LOCK, ROOT / "pyproject.toml"):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def installed(self) -> set[str]:
        """Return the parts that the stamp says are there, empty when it is from another lock."""
        try:
            stamp = json.loads(self.stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return set()
        fits = stamp.get("made_from") == self.wanted() and self.python.exists()
        return set(stamp["parts"]) if fits else set()

    def prepare(self, parts: tuple[str, ...], *, extra: str = "") -> None:
        """Make the environment hold `parts`, the extra and the project; do nothing if it does.

        Raises
        ------
        SetupError
            If a step fails; the text says what to do.

        """
        have, need = self.installed(), {*parts, *([extra] if extra else [])}
        if need <= have:
            return
        started = time.monotonic()
        if not self._runs():
            say(f"[1/3] Making {self.folder.name} with Python {sys.version.split()[0]}")
            self._make()
        missing = [part for part in parts if part not in have]
        if missing:
            self._install_parts(missing)
        if extra:
            self._install_extra(extra)
        say("[3/3] Installing Precedent itself")
        self.pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
        stamp = {"made_from": self.wanted(), "parts": sorted(have | need)}
        self.stamp.write_text(json.dumps(stamp), encoding="utf-8")
        say(f"      ready after {time.monotonic() - started:.0f} s")

    def _runs(self) -> bool:
        if not self.python.exists():
            return False
        code = f"import sys, pip; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
        done = subprocess.run([str(self.python), "-c", code], capture_output=True, check=False)
        return done.returncode == 0

    def _make(self) -> None:
        command = [sys.executable, "-m", "venv", "--clear", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            message = f"The virtual environment could not be made: {' '.join(last)}"
            raise SetupError(message)

    def _install_parts(self, parts: list[str]) -> None:
        text = LOCK.read_text(encoding="utf-8")
        lines = "".join(lock_part(text, part) for part in parts)
        count = len(re.findall(r"^\w", lines, flags=re.MULTILINE))
        say(f"[2/3] Installing {count} locked packages ({', '.join(parts)}); hashes are checked")
        with tempfile.TemporaryDirectory() as folder:
            requirements = Path(folder) / "requirements.txt"
            requirements.write_text(lines, encoding="utf-8")
            self.pip("--require-hashes", "--no-deps", "--requirement", str(requirements))

    def _install_extra(self, extra: str) -> None:
        """Install an extra that is not locked, without moving any locked version."""
        import tomllib

        table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        wanted = table["project"]["optional-dependencies"][extra]
        say(f"[2/3] Installing the extra {extra}: {', '.join(wanted)} (several GB, minutes)")
        pins = re.findall(r"^(\w\S+==\S+.*?) \\$", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
        with tempfile.TemporaryDirectory() as folder:
            constraints = Path(folder) / "constraints.txt"
            constraints.write_text("\n".join(pins), encoding="utf-8")
            self.pip("--constraint", str(constraints), *wanted)

    def pip(self, *arguments: str) -> None:
        """Run ``pip install`` with one line of progress per package.

        Raises
        ------
        SetupError
            If pip fails: its last lines, and what they usually mean.

        """
        command = [str(self.python), "-m", "pip", "install", "--no-compile", "--no-input"]
        command += ["--disable-pip-version-check", "--progress-bar", "off", *arguments]
        lines: list[str] = []
        with subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as running:
            for line in running.stdout or ():
                lines.append(line.rstrip())
                show_progress(lines)
        if running.returncode:
            output = "\n".join(lines[-12:])
            advice = [hint for pattern, hint in HINTS if re.search(pattern, "\n".join(lines))]
            raise SetupError("\n".join([output, "", *(advice[:1] or ["pip failed: see above."])]))


def show_progress(lines: list[str]) -> None:
    """Show what pip is at: over one line on a terminal, every 20th package elsewhere."""
    n_found = sum(line.startswith("Collecting ") for line in lines)
    at = lines[-1]
    if at.startswith("Installing collected"):
        at = "unpacking ..."
    elif not at.startswith("Collecting ") or not (sys.stdout.isatty() or n_found % 20 == 0):
        return
    else:
        at = f"{n_found}: {at.split()[1].split('==')[0]}"
    if sys.stdout.isatty():
        print(f"\r\033[K      {at}", end="\n" if at.startswith("unp") else "", flush=True)
    else:
        say(f"      {at}")


def chromium() -> str | None:
    """Find a Chromium for the tests that walk the product in a browser."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


def run_tests(environment: Environment, arguments: list[str]) -> int:
    """Run pytest over the tree, and say beforehand what will be skipped."""
    if chromium() is None:
        say("Chromium is missing, so the tests in a browser are skipped. To run them, as root:")
        say("  apt-get install --no-install-recommends chromium")
    if not POSTGRESQL.exists() and shutil.which("initdb") is None:
        say("PostgreSQL is missing, so the tests on it are skipped. To run them, as root:")
        say("  apt-get install --no-install-recommends postgresql-15")
    command = [str(environment.python), "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def run_interop(environment: Environment, arguments: list[str]) -> int:
    """Run the tests against servers that need Java, and say beforehand what is missing."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if missing:
        say(f"{' and '.join(missing)} missing, so these tests are skipped. To run them, as root:")
        say("  apt-get install --no-install-recommends openjdk-17-jdk-headless maven")
    command = [str(environment.python), "-m", "pytest", "tests/interop", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def run_checks(environment: Environment) -> int:
    """Run every check, also after one has failed; return how many failed."""
    failed = []
    for name, arguments in CHECKS:
        started = time.monotonic()
        done = subprocess.run([str(environment.python), *arguments], cwd=ROOT, check=False)
        verdict = "failed" if done.returncode else "passed"
        say(f"{name}: {verdict} ({time.monotonic() - started:.1f} s)")
        failed += [name] if done.returncode else []
    say(f"check: {', '.join(failed)} failed" if failed else "check: all passed")
    return len(failed)


def run(target: str, arguments: list[str]) -> int:
    """Prepare the environment that `target` needs and run it; return its exit status."""
    check_interpreter()
    is_train = target == "test-train"
    environment = Environment(ROOT / (".venv-train" if is_train else ".venv"))
    environment.prepare(PARTS[target], extra="train" if is_train else "")
    python = str(environment.python)
    if target == "setup":
        return 0
    if target == "check":
        return run_checks(environment)
    if target == "test":
        return run_tests(environment, arguments)
    if target == "test-interop":
        return run_interop(environment, arguments)
    commands = {
        "demo": [str(environment.folder / "bin" / "precedent"), "demo"],
        "bench": [python, "-m", "bench"],
        "test-train": [python, "-m", "pytest", "tests/train"],
    }
    return subprocess.run([*commands[target], *arguments], cwd=ROOT, check=False).returncode


def main() -> int:
    """Read the target from the command line and run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=list(PARTS), metavar="target")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="after --: for the target")
    given = parser.parse_args()
    arguments = [word for word in given.arguments if word != "--"]
    try:
        return run(given.target, arguments)
    except SetupError as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
