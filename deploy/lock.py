"""Make requirements.lock: one file of exact pins with hashes, in parts that stand alone.

Run as ``make lock`` (keeps the pins that still fit) or ``make lock UPGRADE=1`` (takes the newest).
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
BASE_TERMS = (
    "python_full_version < '3.14'",
    "platform_python_implementation == 'CPython'",
    "sys_platform == 'linux'",
)
"""What `[tool.uv] environments` adds to every line; said once in the head instead of 110 times."""

Pins = dict[str, str]
"""Requirement line (name, version, marker) to its block of text, hashes included."""


def fingerprint(pyproject: Path = ROOT / "pyproject.toml") -> str:
    """Hash what the lock is made from, so that a test can tell that it is out of date."""
    table = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    project = table["project"]
    extras = dict(project["optional-dependencies"])
    extras.pop("train")  # torch is never locked
    made_from = {
        "build": table["build-system"]["requires"],
        "dependencies": project["dependencies"],
        "extras": extras,
        "python": project["requires-python"],
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def _compile(source: str, *options: str, stdin: str | None = None) -> Pins:
    command = [sys.executable, "-m", "uv", "pip", "compile", source, "--universal"]
    command += ["--python-version", "3.11", "--generate-hashes", "--quiet"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    done = subprocess.run(  # noqa: S603 - our own command line
        [*command, *options], cwd=ROOT, input=stdin, text=True, stdout=subprocess.PIPE, check=True
    )
    return _blocks(done.stdout)


def _blocks(text: str) -> Pins:
    pins: Pins = {}
    head = ""
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            head = _without_base_marker(line)
            pins[head] = head + "\n"
        elif line.startswith(" "):
            pins[head] += line + "\n"
    return pins


def _without_base_marker(line: str) -> str:
    requirement, _, marker = line.removesuffix(" \\").partition(" ; ")
    for term in BASE_TERMS:
        marker = marker.replace(f"{term} and ", "").replace(f" and {term}", "")
    kept = "" if marker in BASE_TERMS else f" ; {marker}" if marker else ""
    return f"{requirement}{kept} \\"


def _parts(*, upgrade: bool) -> dict[str, Pins]:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    with tempfile.TemporaryDirectory() as folder:
        everything = Path(folder) / "everything.txt"
        everything.write_text("" if upgrade or not LOCK.exists() else LOCK.read_text())
        sources = ("--extra", "evaluate", "--extra", "dev", "--extra", "bench")
        _compile("pyproject.toml", *sources, "--output-file", str(everything))
        pinned = ("--constraint", str(everything))
        candidates = {
            "runtime": _compile("pyproject.toml", *pinned),
            "build": _compile("-", stdin="\n".join(build)),
            "evaluate": _compile("pyproject.toml", "--extra", "evaluate", *pinned),
            "dev": _compile("pyproject.toml", "--extra", "dev", *pinned),
            "bench": _compile("pyproject.toml", "--extra", "bench", *pinned),
        }
    seen: set[str] = set()
    parts: dict[str, Pins] = {}
    for name, pins in candidates.items():
        parts[name] = {line: block for line, block in pins.items() if line not in seen}
        seen |= set(pins)
    return parts


def main() -> int:
    """Write requirements.lock anew and say how many packages each part holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    parts = _parts(upgrade=parser.parse_args().upgrade)
    lines = [
        "# Exact versions with hashes for CPython 3.11 to 3.13 on Linux (x86-64, aarch64).",
        "# Made by `make lock`; do not edit. Each part needs those above it; torch is never here.",
        f"# made from: {fingerprint()}",
    ]
    for name, pins in parts.items():
        lines += ["", f"# --- part: {name} ---"]
        lines += [block.rstrip("\n") for block in pins.values()]
    LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sizes = ", ".join(f"{name} {len(pins)}" for name, pins in parts.items())
    sys.stdout.write(f"requirements.lock: {sizes} packages\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
