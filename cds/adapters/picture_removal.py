"""Removing encrypted pictures from the blob store, with their checksums for the receipt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cds.adapters.blobs import EncryptedBlobStore
from cds.adapters.sql.erasure import SqlErasures
from cds.domain.erasure import RemovedFile


class BlobRemoval:
    """Removes pictures that no other case shows; implements `cds.library.erasure.PictureRemoval`.

    Equal bytes share a blob: a picture that somebody else's case shows too stays.
    """

    def __init__(self, blobs: EncryptedBlobStore, erasures: SqlErasures) -> None:
        self._blobs = blobs
        self._erasures = erasures

    def fingerprints(self, blob_keys: Sequence[str]) -> tuple[RemovedFile, ...]:
        """Return the files of these pictures that are there, with their SHA-256."""
        return tuple(
            RemovedFile(f"blobs/{key}", hashlib.sha256(sealed).hexdigest())
            for key in self._of_nobody_else(blob_keys)
            if (sealed := self._blobs.sealed(key)) is not None
        )

    def remove(self, blob_keys: Sequence[str]) -> None:
        """Remove them, and what an interrupted write of them left; absent is fine."""
        for key in self._of_nobody_else(blob_keys):
            self._blobs.delete(key)
            self._blobs.delete_parts(key)

    def _of_nobody_else(self, blob_keys: Sequence[str]) -> list[str]:
        shared = self._erasures.shared_blobs(blob_keys)
        return [key for key in blob_keys if key not in shared]
