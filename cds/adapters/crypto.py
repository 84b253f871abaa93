"""Envelope encryption at rest: a master key wraps data keys, and these seal fields and blobs."""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cds.domain.errors import CdsError, Reason

KEY_BYTES = 32  # AES-256
NONCE_BYTES = 12  # Source: NIST SP 800-38D, 8.2: 96-bit nonces
FORMAT = "precedent-keys/1"
_VERSION = b"\x01"


def seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Encrypt with AES-256-GCM; returns nonce, ciphertext and tag in one piece."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, aad)


def unseal(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Decrypt what `seal` made.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if key, place or bytes are not those of the encryption.

    """
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
    except (InvalidTag, ValueError):
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            "Stored data cannot be decrypted with this installation's key; "
            "restore the key file that belongs to the database.",
        ) from None


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """The installation's master keys, by key id; they wrap data keys and never touch a field.

    Attributes
    ----------
    current_id
        The master key that wraps new data keys.
    identity_id
        The master key that keyed hashes derive from; it stays when `current_id` is rotated, since a
        new one would make every stored patient key unrecognisable.

    """

    master_keys: Mapping[str, bytes]
    current_id: str
    identity_id: str

    def __post_init__(self) -> None:
        if {self.current_id, self.identity_id} - set(self.master_keys):
            raise ValueError("current and identity keys are among the master keys")
        if any(len(key) != KEY_BYTES for key in self.master_keys.values()):
            raise ValueError("a master key has 32 bytes")

    def __repr__(self) -> str:
        return f"KeyRing({self.current_id}, <redacted>)"

    @classmethod
    def generate(cls) -> KeyRing:
        """Return a ring with one fresh random key."""
        key_id = f"m{secrets.token_hex(4)}"
        return cls({key_id: secrets.token_bytes(KEY_BYTES)}, key_id, key_id)

    def with_new_master_key(self) -> KeyRing:
        """Return a ring whose new current key wraps from now on; old ones still unwrap."""
        fresh = KeyRing.generate()
        keys = {**self.master_keys, **fresh.master_keys}
        return KeyRing(keys, fresh.current_id, self.identity_id)

    def subkey(self, purpose: str) -> bytes:
        """Return a 32-byte key for one purpose, derived by HKDF-SHA-256 (RFC 5869)."""
        derivation = HKDF(SHA256(), KEY_BYTES, salt=None, info=f"precedent/{purpose}".encode())
        return derivation.derive(self.master_keys[self.identity_id])

    def wrap(self, data_key_id: str, data_key: bytes) -> tuple[str, bytes]:
        """Return the id of the wrapping master key, and the wrapped data key."""
        sealed = seal(
            self.master_keys[self.current_id], data_key, f"data-key:{data_key_id}".encode()
        )
        return self.current_id, sealed

    def unwrap(self, data_key_id: str, master_key_id: str, wrapped: bytes) -> bytes:
        """Return the data key.

        Raises
        ------
        CdsError
            INVALID_CONFIGURATION if the master key is not in this ring, or is another one.

        """
        master = self.master_keys.get(master_key_id)
        if master is None:
            raise CdsError(
                Reason.INVALID_CONFIGURATION,
                f"The key file lacks master key {master_key_id}, which the database needs; "
                "restore the key file that belongs to it.",
            )
        return unseal(master, wrapped, f"data-key:{data_key_id}".encode())


@dataclass(frozen=True, slots=True, repr=False)
class FieldCipher:
    """Encrypts single fields and blobs with the installation's data keys.

    The place (table, column and row) is authenticated with the bytes: a value copied into another
    row or column does not decrypt.
    """

    data_keys: Mapping[str, bytes]
    current_id: str
    _prefix: bytes = field(init=False)

    def __post_init__(self) -> None:
        if self.current_id not in self.data_keys:
            raise ValueError("the current data key is among the data keys")
        name = self.current_id.encode()
        object.__setattr__(self, "_prefix", _VERSION + bytes([len(name)]) + name)

    def __repr__(self) -> str:
        return f"FieldCipher({self.current_id}, <redacted>)"

    def encrypt(self, plaintext: bytes, place: str) -> bytes:
        """Encrypt the content of one place, for example ``library_case.facts:<case id>``."""
        return self._prefix + seal(self.data_keys[self.current_id], plaintext, place.encode())

    def decrypt(self, stored: bytes, place: str) -> bytes:
        """Decrypt what `encrypt` stored at this place.

        Raises
        ------
        CdsError
            INVALID_CONFIGURATION if the data key is unknown, or the bytes belong elsewhere.

        """
        end = 2 + (stored[1] if len(stored) > 1 else 0)
        key = self.data_keys.get(stored[2:end].decode("ascii", "replace"))
        if stored[:1] != _VERSION or key is None:
            raise CdsError(
                Reason.INVALID_CONFIGURATION,
                "Stored data was written with a data key that this installation does not have.",
            )
        return unseal(key, stored[end:], place.encode())


def load_key_ring(path: Path) -> KeyRing:
    """Read the key file.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if the file is absent, readable by others or not a key file.

    """
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise CdsError(
                Reason.INVALID_CONFIGURATION,
                f"The key file {path.name} can be read by others; set its mode to 0600.",
            )
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            f"There is no key file {path.name}; run `precedent init`, or restore the file "
            "if this installation already holds data.",
        ) from None
    except (OSError, ValueError):
        raise CdsError(Reason.INVALID_CONFIGURATION, _unreadable(path)) from None
    return _ring(document, path)


def create_key_ring(path: Path) -> KeyRing:
    """Write a key file with one fresh master key, mode 0600, unless there is one already.

    Returns
    -------
    KeyRing
        What the file holds afterwards; an existing file is read and never changed.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION as `load_key_ring`.

    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _write(KeyRing.generate(), path, replace=False)
    return load_key_ring(path)


def save_key_ring(ring: KeyRing, path: Path) -> None:
    """Replace the key file in one step, after a rotation."""
    _write(ring, path, replace=True)


def _write(ring: KeyRing, path: Path, *, replace: bool) -> None:
    """Write beside and move into place; without `replace` the first of two writers wins."""
    document = {
        "format": FORMAT,
        "current": ring.current_id,
        "identity": ring.identity_id,
        "master_keys": {k: base64.b64encode(v).decode() for k, v in ring.master_keys.items()},
    }
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".key-")  # mkstemp makes mode 0600
    beside = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        if replace:
            beside.replace(path)
        else:
            path.hardlink_to(beside)
    except FileExistsError:
        return
    finally:
        beside.unlink(missing_ok=True)


def _ring(document: Any, path: Path) -> KeyRing:  # noqa: ANN401  # parsed JSON
    try:
        if document["format"] != FORMAT:
            raise ValueError("unknown format")  # noqa: TRY301  # one way out for all that is wrong
        keys = {
            str(k): base64.b64decode(v, validate=True) for k, v in document["master_keys"].items()
        }
        return KeyRing(keys, str(document["current"]), str(document["identity"]))
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error):
        raise CdsError(Reason.INVALID_CONFIGURATION, _unreadable(path)) from None


def _unreadable(path: Path) -> str:
    return (
        f"The key file {path.name} is not a key file of this product; restore it from its backup."
    )
