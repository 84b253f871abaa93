"""Security headers of every answer, in one place; a page of the app widens them, nobody else."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Response

_HSTS_S = 31_536_000  # one year


def machine_headers(*, is_https: bool) -> dict[str, str]:
    """Return the headers of an answer that no browser shows: nothing may be loaded or framed.

    Examples
    --------
    >>> machine_headers(is_https=True)["Content-Security-Policy"]
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

    """
    headers = {
        "Content-Security-Policy": (
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }
    if is_https:
        headers["Strict-Transport-Security"] = f"max-age={_HSTS_S}"
    return headers


def page_content_security_policy(frame_ancestors: Iterable[str]) -> str:
    """Return the policy of a page of the app: own files only, framed by registered EHRs only.

    Parameters
    ----------
    frame_ancestors
        Origins of the EHR that may frame the page; none means that nobody may.

    Examples
    --------
    >>> page_content_security_policy(["https://ehr.example.invalid"]).split("; ")[-1]
    'frame-ancestors https://ehr.example.invalid'

    """
    allowed = " ".join(frame_ancestors) or "'none'"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
        f"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors {allowed}"
    )


def apply_machine_headers(response: Response, *, is_https: bool) -> Response:
    """Set each header that the view has not set itself."""
    for name, value in machine_headers(is_https=is_https).items():
        response.headers.setdefault(name, value)
    return response
