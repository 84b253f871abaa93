"""The bytes of one picture of a row, or why they cannot be had."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from cds.domain.errors import CdsError, Reason
from cds.library.picture_preparation import MAX_FILE_BYTES, TOO_LARGE
from cds.library.source_case import SourcePicture

UNREADABLE_FILE = "the file cannot be opened"


def picture_content(source: SourcePicture) -> bytes:
    """Return the bytes of a picture of a row.

    Raises
    ------
    CdsError
        IMAGE_UNREADABLE if they cannot be had or are too many, with the reason of the quarantine.

    """
    if source.content is not None:
        content = source.content
    elif source.file is None:
        raise CdsError(Reason.IMAGE_UNREADABLE, source.missing_reason)
    else:
        try:
            content = _regular_content(source.file)
        except OSError:
            raise CdsError(Reason.IMAGE_UNREADABLE, UNREADABLE_FILE) from None
    if len(content) > MAX_FILE_BYTES:
        raise CdsError(Reason.IMAGE_UNREADABLE, TOO_LARGE)
    return content


def _regular_content(file: Path) -> bytes:
    """Return a file's bytes, at most one more than are allowed.

    Raises
    ------
    OSError
        If it cannot be read, or is a pipe or device: it would have no end, or never answer.

    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return stream.read(min(status.st_size, MAX_FILE_BYTES) + 1)
