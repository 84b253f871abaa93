"""What the demo keeps between starts, and what each start begins anew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Written once under a name of their content; a link to them is as good as a copy.
_NEVER_REWRITTEN = frozenset({"blobs", "index"})


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
    if running.exists():
        shutil.rmtree(running)
    running.mkdir(parents=True, mode=0o700)
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
