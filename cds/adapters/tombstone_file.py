"""Tombstones in a file of their own: a restored database does not know what was erased since."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cds.domain.erasure import Tombstone, TombstoneKind
from cds.domain.errors import CdsError, Reason


class JsonLinesTombstones:
    """One JSON object a line, owner-only; implements `cds.library.erasure.TombstoneFile`.

    Keyed hashes only: without the key file nobody can tell whom they stand for. Keep the file with
    the key file's backup, apart from the database's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[Tombstone, ...]:
        """Return every tombstone; a line that a power cut left half written is passed over.

        Raises
        ------
        CdsError
            INVALID_CONFIGURATION if another line is not a tombstone.

        """
        try:
            lines = self._path.read_text("utf-8").split("\n")
        except FileNotFoundError:
            return ()
        found = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                found.append(_tombstone(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                if number == len(lines):
                    continue  # no end of line: it was never complete
                raise CdsError(
                    Reason.INVALID_CONFIGURATION,
                    f"Line {number} of {self._path.name} is no tombstone; restore the file.",
                ) from None
        return tuple(found)

    def add(self, tombstones: Sequence[Tombstone]) -> None:
        """Append those that the file lacks, and wait until the disk has them."""
        known = {(one.kind, one.key) for one in self.read()}
        new = [one for one in tombstones if (one.kind, one.key) not in known]
        if not new:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as stream:
            _cut_half_line(stream.fileno())
            stream.write("".join(_line(one) for one in new).encode())
            stream.flush()
            os.fsync(stream.fileno())


def _cut_half_line(descriptor: int) -> None:
    """Remove a last line that a power cut left without its end."""
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    if content and not content.endswith(b"\n"):
        os.ftruncate(descriptor, content.rfind(b"\n") + 1)


def _line(one: Tombstone) -> str:
    entry = {"kind": one.kind.value, "key": one.key, "erased_at": one.erased_at.isoformat()}
    return json.dumps(entry) + "\n"


def _tombstone(entry: dict[str, str]) -> Tombstone:
    return Tombstone(
        TombstoneKind(entry["kind"]), entry["key"], datetime.fromisoformat(entry["erased_at"])
    )
