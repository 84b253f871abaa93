"""A first call through the whole demo: it proves the way, and fills the caches of each worker."""

from __future__ import annotations

import http.client
from urllib.parse import urlencode

from cds.domain.errors import CdsError, Reason

LOGIN, PASSWORD = "dr.moreau", "sandbox"
CHECKED_PATIENT = "fx-inverted"  # a fixture, so that the patients to try stay untouched
N_CALLS = 4  # new connections, so that both workers get some
_TIMEOUT_S = 15.0


def check_the_way(host: str, port: int) -> None:
    """Open a fixture's chart in the EHR, so that it calls Precedent, which reads the EHR and PACS.

    Raises
    ------
    CdsError
        UPSTREAM_FAILED if the EHR cannot be used, or gets no answer from Precedent.

    """
    form = urlencode({"login": LOGIN, "password": PASSWORD})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    _, cookie = _call(host, port, "POST", "/ehr/sign-in", headers, form)
    for _ in range(N_CALLS):
        path = f"/ehr/patients/{CHECKED_PATIENT}/cards"
        text, _ = _call(host, port, "GET", path, {"Cookie": cookie.partition(";")[0]})
        if "cards-failure" in text:
            raise CdsError(
                Reason.UPSTREAM_FAILED,
                "The EHR got no answer from Precedent; the logs folder says more.",
            )


def _call(
    host: str, port: int, method: str, path: str, headers: dict[str, str], body: str | None = None
) -> tuple[str, str]:
    """Return the text and the cookie of an answer."""
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", errors="replace")
    except (OSError, http.client.HTTPException):
        raise CdsError(Reason.UPSTREAM_FAILED, "The EHR does not answer.") from None
    finally:
        connection.close()
    if answer.status >= http.client.BAD_REQUEST:
        raise CdsError(Reason.UPSTREAM_FAILED, f"The EHR answered {answer.status} to {path}.")
    return text, answer.headers.get("Set-Cookie", "")
