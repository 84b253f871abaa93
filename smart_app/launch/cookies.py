"""The app's cookies: partitioned, so that they work in an EHR's frame, and host-only."""

from __future__ import annotations

from flask import Request, Response

from smart_app.launch.authorization import hash_of

COOKIE_LIFETIME_S = 8 * 3600  # the session itself ends earlier, on the server


def session_cookie(window: str, *, is_https: bool) -> str:
    """Return the name of the session cookie of one window.

    Examples
    --------
    >>> session_cookie("k3", is_https=True), session_cookie("k3", is_https=False)
    ('__Host-precedent-k3', 'precedent-k3')

    """
    return _name(window, is_https=is_https)


def launch_cookie(state: str, *, is_https: bool) -> str:
    """Return the name of the cookie that binds one launch under way to its browser."""
    return _name(f"launch-{hash_of(state)[:12]}", is_https=is_https)


def _name(suffix: str, *, is_https: bool) -> str:
    """Return a name; browsers accept the prefix only over https."""
    return f"{'__Host-' if is_https else ''}precedent-{suffix}"


def set_cookie(response: Response, name: str, value: str, *, lifetime_s: int) -> None:
    """Set a cookie that only this host's server reads.

    `Secure` also works on http://127.0.0.1: browsers count loopback as trustworthy.

    References
    ----------
    DESIGN 4, Auth; RFC 6265bis; CHIPS (partitioned cookies).

    """
    response.set_cookie(
        name,
        value,
        max_age=lifetime_s,
        path="/",
        secure=True,
        httponly=True,
        samesite="None",
        partitioned=True,
    )


def drop_cookie(response: Response, name: str) -> None:
    """Take a cookie back; browsers match it by the same attributes."""
    response.delete_cookie(
        name, path="/", secure=True, httponly=True, samesite="None", partitioned=True
    )


def read_cookie(request: Request, name: str) -> str | None:
    """Return a cookie's value, or None."""
    return request.cookies.get(name)
