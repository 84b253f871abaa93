"""Picture files below a folder, found by the names that a table gives them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

PICTURE_SUFFIXES = frozenset({".dcm", ".dicom", ".jpeg", ".jpg", ".png"})


def picture_files(folder: Path) -> Iterator[Path]:
    """Yield the JPEG, PNG and DICOM files below a folder, in the order of their names.

    Symbolic links to folders are not followed, so that the walk ends and stays in the folder.
    """
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if Path(name).suffix.casefold() in PICTURE_SUFFIXES:
                yield Path(parent) / name


def files_by_name(folder: Path) -> Mapping[str, Path]:
    """Return files by lower-case name, and by stem where no file has that very name.

    Collections are often converted from one picture format to another: the stem stays.
    """
    files = list(picture_files(folder))
    return {p.stem.casefold(): p for p in files} | {p.name.casefold(): p for p in files}


def named_file(files: Mapping[str, Path], name: str) -> Path | None:
    """Return the file of this name, else the one of the same stem, else None."""
    return files.get(name.casefold()) or files.get(Path(name).stem.casefold())
