"""Forms that only our own page can send: a token that is derived from the session."""

from __future__ import annotations

import hmac

from cds.domain.errors import CdsError, Reason

_PURPOSE = b"precedent form "


def form_token(session_id: str, form: str) -> str:
    """Return what the named form carries; it says nothing about the session's id.

    The cookie is sent with other sites' forms too (``SameSite=None``, the app lives in a frame),
    and only a page of this session can know this text.
    """
    return hmac.digest(session_id.encode(), _PURPOSE + form.encode(), "sha256").hex()


def check_form_token(session_id: str, form: str, received: str) -> None:
    """Refuse a form that did not come from a page of this session.

    Raises
    ------
    CdsError
        NOT_AUTHORIZED.

    """
    expected = form_token(session_id, form)
    if not hmac.compare_digest(expected.encode(), received.encode()):
        raise CdsError(
            Reason.NOT_AUTHORIZED,
            "This form was not sent by a page of this window. Open the form again and send it.",
        )
