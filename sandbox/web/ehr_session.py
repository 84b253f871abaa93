"""Who is signed in to the EHR screen: a signed cookie, and guards for pages and forms."""

from __future__ import annotations

import time
from functools import wraps
from typing import TYPE_CHECKING, Any

from flask import abort, redirect, request, session, url_for

from sandbox.web.accounts import Account, account_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.typing import ResponseReturnValue


def current_account() -> Account | None:
    """Return who is signed in, or None."""
    return account_named(session.get("login", ""))


def signed_in_at() -> float:
    """Return when the person signed in, in seconds since the epoch."""
    return float(session.get("at", 0.0))


def open_session(account: Account) -> None:
    """Sign a person in."""
    session.clear()
    session["login"] = account.login
    session["at"] = time.time()


def staff_only(view: Callable[..., ResponseReturnValue]) -> Callable[..., ResponseReturnValue]:
    """Decorate a view: without a session it leads to the sign-in page; forms must be our own."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> ResponseReturnValue:  # noqa: ANN401
        account = current_account()
        if account is None:
            return redirect(url_for("ehr.sign_in_page", next=request.path))
        refuse_foreign_form()
        return view(*args, account=account, **kwargs)

    return guarded


def refuse_foreign_form() -> None:
    """Answer 403 to a POST that another origin has caused."""
    origin = request.headers.get("Origin")
    if request.method == "POST" and origin is not None and origin != request.host_url.rstrip("/"):
        abort(403)


def local_path(text: str | None, *, default: str) -> str:
    """Return an address of this server to go on to; anything else becomes the default."""
    is_local = text is not None and text.startswith(("/ehr", "/auth/authorize"))
    return text if is_local and text is not None and "\\" not in text else default
