"""What the demo keeps between starts, and what each start begins anew."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

# Written once under a name of their content; a link to them is as good as a copy.
_NEVER_REWRITTEN = frozenset({"blobs", "index"})


_CODE_SUFFIXES = frozenset({".json", ".md", ".onnx", ".py", ".toml"})
_STAMP = "complete"


def fingerprint(folders: Iterable[Path]) -> str:
    """Return a hash over the code and parameters below some folders."""
    found = sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in _CODE_SUFFIXES:
                found.update(path.relative_to(folder).as_posix().encode())
                found.update(path.read_bytes())
    return found.hexdigest()


def is_complete(folder: Path, made_by: str) -> bool:
    """Tell whether a folder was finished by exactly this code."""
    stamp = folder / _STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == made_by


def begin(folder: Path) -> None:
    """Empty a folder that is to be made again."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, mode=0o700)


def mark_complete(folder: Path, made_by: str) -> None:
    """Remember that a folder is finished, and by which code."""
    stamp = folder / _STAMP
    stamp.touch(mode=0o600)  # like all that lies beside it
    stamp.write_text(made_by, encoding="utf-8")


def fresh_copy(imported: Path, running: Path) -> None:
    """Make the state that one demo runs on: the imported library, and nothing of earlier runs.

    The try-out patients are generated anew at each start, so answers, sessions and "shown once"
    marks of the start before would be about films that no longer exist.

    Parameters
    ----------
    imported
        State folder as the import left it; it is not changed.
    running
        Folder to make; an earlier one is deleted.

    """
    begin(running)
    for entry in imported.iterdir():
        if entry.name in _NEVER_REWRITTEN:
            shutil.copytree(entry, running / entry.name, copy_function=_link_or_copy)
        elif entry.is_file():
            shutil.copy2(entry, running / entry.name)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
