"""Where a deflated DICOM object begins to be deflated, found without inflating anything."""

from __future__ import annotations

PREAMBLE_BYTES = 128
DEFLATED = "1.2.840.10008.1.2.1.99"  # Deflated Explicit VR Little Endian, PS3.5 Annex A.5
MAX_META_BYTES = 256 * 1024
_MAGIC = b"DICM"
_META_GROUP = b"\x02\x00"
_TRANSFER_SYNTAX = b"\x02\x00\x10\x00"
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR"})
_LONG |= {b"UT", b"UV"}


def deflated_from(content: bytes) -> int | None:
    """Return where the deflated part begins, or None if the object is not deflated.

    The file meta information is walked element by element, as a reader does: what it says of its
    own length is not believed, and no padding hides the transfer syntax.

    Parameters
    ----------
    content
        A DICOM object (PS3.10) or its first `MAX_META_BYTES`, with or without preamble; untrusted.

    Raises
    ------
    ValueError
        If the file meta information goes beyond that.

    Examples
    --------
    >>> meta = bytes.fromhex("02001000") + b"UI" + (22).to_bytes(2, "little") + DEFLATED.encode()
    >>> deflated_from(bytes(128) + b"DICM" + meta + b"...")
    162
    >>> deflated_from(b"a picture") is None
    True

    """
    has_preamble = content[PREAMBLE_BYTES : PREAMBLE_BYTES + len(_MAGIC)] == _MAGIC
    at = PREAMBLE_BYTES + len(_MAGIC) if has_preamble else 0
    is_deflated = False
    while content[at : at + 2] == _META_GROUP:
        vr = content[at + 4 : at + 6]
        is_explicit = vr.isalpha() and vr.isupper()
        if is_explicit and vr not in _LONG:
            start, n_bytes = at + 8, int.from_bytes(content[at + 6 : at + 8], "little")
        else:
            start = at + (12 if is_explicit else 8)
            n_bytes = int.from_bytes(content[start - 4 : start], "little")
        if content[at : at + 4] == _TRANSFER_SYNTAX:
            value = content[start : start + n_bytes].rstrip(b"\0 ")
            is_deflated = value == DEFLATED.encode()
        at = start + n_bytes
        if at > MAX_META_BYTES:
            raise ValueError("the file meta information is longer than any")
    return at if is_deflated else None
