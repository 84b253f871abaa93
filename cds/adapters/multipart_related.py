"""Takes a ``multipart/related`` answer apart (RFC 2387, PS3.18 section 8.7)."""

from __future__ import annotations

from email.message import Message

from cds.domain.errors import CdsError, Reason


def parts_of(body: bytes, content_type: str) -> tuple[bytes, ...]:
    r"""Return the bodies of the parts; a single-part answer is its own only part.

    Parameters
    ----------
    body
        The whole answer.
    content_type
        Its Content-Type; some servers write further parameters inside the quotes of `type`.

    Raises
    ------
    CdsError
        UPSTREAM_FAILED if the answer ends before its last boundary, or names none.

    Examples
    --------
    >>> parts_of(b"--x\r\nA: b\r\n\r\nabc\r\n--x--", "multipart/related; boundary=x")
    (b'abc',)

    """
    message = Message()
    message["Content-Type"] = content_type
    if message.get_content_maintype() != "multipart":
        return (body,)
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise CdsError(Reason.UPSTREAM_FAILED, "The PACS answered in parts without a boundary.")
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise CdsError(Reason.UPSTREAM_FAILED, "The PACS's answer was cut off.")
    return tuple(piece.partition(b"\r\n\r\n")[2] for piece in pieces[1:-1])
