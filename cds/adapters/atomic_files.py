"""Files that are there whole or not at all, whenever the process or the machine stops."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})


def write_whole(path: Path, content: bytes) -> None:
    """Write a new file of mode 0600 and bring it to the disk; one that is there already stays.

    Where the file system can (Linux, ``O_TMPFILE``), the file has no name until it is complete, so
    that a kill leaves nothing behind; elsewhere a file beside it is renamed.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written; nothing is left under `path`.

    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not _linked(folder, path.name, content):
            _renamed(path, content)
        os.fsync(folder)
    finally:
        os.close(folder)


def _linked(folder: int, name: str, content: bytes) -> bool:
    """Write a nameless file and give it its name; False where that is not possible."""
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        descriptor = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno in _NO_TMPFILE:
            return False
        raise
    try:
        _write_all(descriptor, content)
        with suppress(FileExistsError):  # another writer was faster, with the same content
            os.link(
                f"/proc/self/fd/{descriptor}", name, src_dir_fd=folder, dst_dir_fd=folder
            )  # with a src_dir_fd the link in /proc is followed
    finally:
        os.close(descriptor)
    return True


def _renamed(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            _write_all(descriptor, content)
        finally:
            os.close(descriptor)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)
