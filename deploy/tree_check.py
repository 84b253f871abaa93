"""Check what git tracks: large files, private keys, ends of line, conflicts, notebooks' outputs.

Without arguments it looks at every tracked file; with arguments (pre-commit) at those.
"""

import fnmatch
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 500_000
LARGE_ALLOWED = ("models/*/model.onnx",)
"""The shipped encoders are the one exception; fnmatch's * also crosses folders."""
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
CONFLICT = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)
# A graph may begin with names alone.
BINARY_SUFFIX = ".onnx"


def tracked() -> list[str]:
    """Return the paths of the files that git tracks and that exist, relative to the root."""
    command = ["git", "ls-files", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def complaints(name: str, content: bytes) -> Iterator[str]:
    """Yield what is wrong with one file, given its path from the root and its bytes."""
    is_exempt = any(fnmatch.fnmatch(name, pattern) for pattern in LARGE_ALLOWED)
    if len(content) > MAX_BYTES and not is_exempt:
        yield f"{name}: {len(content):,} bytes, more than {MAX_BYTES:,}"
    if b"\0" in content[:8192] or name.endswith(BINARY_SUFFIX):
        return
    if PRIVATE_KEY.search(content):
        yield f"{name}: holds a private key"
    if content and not content.endswith(b"\n"):
        yield f"{name}: does not end with a newline"
    if CONFLICT.search(content):
        yield f"{name}: holds a merge conflict"
    if name.endswith(".ipynb"):
        yield from notebook_complaints(name, content)


def notebook_complaints(name: str, content: bytes) -> Iterator[str]:
    """Yield what a stored notebook must not hold: results, which may show shared pictures."""
    try:
        cells = json.loads(content)["cells"]
    except (KeyError, TypeError, ValueError):
        yield f"{name}: is not a notebook"
        return
    n_run = sum(bool(one.get("outputs") or one.get("execution_count")) for one in cells)
    n_attached = sum("attachments" in one for one in cells)
    if n_run or n_attached:
        yield f"{name}: {n_run + n_attached} cells hold outputs: clear them before a commit"


def main() -> int:
    """Print every complaint; return 1 if there was one."""
    names = sys.argv[1:] or tracked()
    found = [text for name in names for text in complaints(name, (ROOT / name).read_bytes())]
    for text in found:
        sys.stderr.write(text + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
