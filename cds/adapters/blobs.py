"""Pictures at rest: AES-GCM encrypted files behind fsspec, named by a keyed hash."""

from __future__ import annotations

import errno
import hashlib
import hmac
import re
from pathlib import Path
from typing import Any

import fsspec

from cds.adapters.atomic_files import write_whole
from cds.adapters.crypto import FieldCipher
from cds.domain.errors import CdsError, Reason

_KEY = re.compile(r"[0-9a-f]{64}")


class EncryptedBlobStore:
    """A folder or bucket of encrypted pictures; implements `cds.ports.BlobStore`.

    The name of a blob is an HMAC of its content: equal bytes share a blob, and nobody without the
    key can test whether a known picture is in the library.

    Parameters
    ----------
    url
        fsspec URL of the root, for example ``file:///var/lib/precedent/blobs`` or ``s3://bucket/x``.
    name_key
        ``KeyRing.subkey("blob-name")``.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if the URL cannot be used here.

    """

    def __init__(self, url: str, cipher: FieldCipher, name_key: bytes) -> None:
        self._filesystem: Any
        try:
            self._filesystem, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError):
            raise CdsError(
                Reason.INVALID_CONFIGURATION,
                "PRECEDENT_BLOB_URL is no usable fsspec URL, or its package is not installed.",
            ) from None
        self._root = str(root).rstrip("/")
        self._cipher = cipher
        self._name_key = name_key
        self._is_local = "file" in _protocols(self._filesystem)
        if self._is_local:
            Path(self._root).mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, content: bytes) -> str:
        """Store bytes and return their key; bytes that are already there are not written again.

        On a local disk the bytes have reached it when this returns: a row that names the blob is
        never committed before the blob itself.

        Raises
        ------
        CdsError
            STORAGE_UNAVAILABLE if the disk is full or the store does not answer; nothing is kept.

        """
        key = hmac.new(self._name_key, content, hashlib.sha256).hexdigest()
        path = self._path(key)
        try:
            if self._filesystem.exists(path):
                return key
            self._filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            sealed = self._cipher.encrypt(content, _place(key))
            if self._is_local:
                write_whole(Path(path), sealed)
            else:
                self._filesystem.pipe_file(path, sealed)
        except OSError as error:
            raise CdsError(Reason.STORAGE_UNAVAILABLE, _trouble(error)) from None
        return key

    def get(self, key: str) -> bytes:
        """Return the bytes.

        Raises
        ------
        CdsError
            NOT_FOUND if there are none; INVALID_CONFIGURATION if they do not decrypt;
            STORAGE_UNAVAILABLE if the store does not answer.

        """
        try:
            sealed = self._filesystem.cat_file(self._path(key))
        except FileNotFoundError:
            raise CdsError(Reason.NOT_FOUND, "There is no such picture in the store.") from None
        except OSError as error:
            raise CdsError(Reason.STORAGE_UNAVAILABLE, _trouble(error)) from None
        return self._cipher.decrypt(sealed, _place(key))

    def delete(self, key: str) -> None:
        """Remove the bytes; absent is fine."""
        path = self._path(key)
        if self._filesystem.exists(path):
            self._filesystem.rm_file(path)

    def sealed(self, key: str) -> bytes | None:
        """Return the encrypted bytes as they lie there, or None if there are none."""
        try:
            content: bytes = self._filesystem.cat_file(self._path(key))
        except FileNotFoundError:
            return None
        return content

    def delete_parts(self, key: str) -> None:
        """Remove what interrupted writes of a blob left beside it."""
        for path in self._filesystem.glob(f"{self._path(key)}.*.part"):
            self._filesystem.rm_file(path)

    def _path(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise CdsError(Reason.NOT_FOUND, "There is no such picture in the store.")
        return f"{self._root}/{key[:2]}/{key}"


def _trouble(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "The disk of the picture store is full. Make room, then run the same command again."
    return "The picture store does not answer; try again."


def _place(key: str) -> str:
    return f"blob:{key}"


def _protocols(filesystem: Any) -> tuple[str, ...]:  # noqa: ANN401  # fsspec is untyped
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
