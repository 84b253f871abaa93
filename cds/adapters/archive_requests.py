"""FHIR reads and searches of an import: whole answers or none, waiting when the server asks to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from cds.adapters.egress import bearer
from cds.adapters.fhir_requests import JSON_TYPES, is_below
from cds.adapters.retry_after import retry_after_s
from cds.domain.errors import CdsError, Reason
from cds.domain.secrecy import SecretText
from cds.domain.time_limit import TimeLimit
from cds.fhir.bundle import answer_from_json
from cds.fhir.shapes import Resource, mapping

if TYPE_CHECKING:
    import requests

    from cds.adapters.egress import EgressClient
    from cds.adapters.egress_session import BoundCredential

TokenProvider = Callable[[], SecretText | None]
"""Our own backend-services token for the EHR; None where the server wants none."""

BUSY = frozenset({429, 503})
UNAUTHORIZED = 401
REFUSED = frozenset({401, 403})
GONE = frozenset({404, 410})


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What one import may ask of a FHIR server.

    Attributes
    ----------
    request_s
        Time for one answer.
    max_answer_bytes
        Of one answer.
    max_pages
        Of one search: a `next` without an end is refused, not followed for ever.
    page_size
        Asked for as `_count`.
    max_tries
        Of one request while the server says that it is busy.
    max_wait_s
        Longest wait between two tries, whatever `Retry-After` says.

    """

    request_s: float = 60.0
    max_answer_bytes: int = 32 * 1024 * 1024
    max_pages: int = 50
    page_size: int = 200
    max_tries: int = 4
    max_wait_s: float = 120.0


class ArchiveRequests:
    """Reads of one import with our own token.

    Parameters
    ----------
    http
        Of the EHR.
    token
        Asked before each request, so that an expired token is replaced.
    limits
        What the import may ask.
    on_refused
        Told that the server refused the token although its time was not up; the request is then
        sent once more.
    sleep
        Waits so many seconds; another one in tests.

    """

    def __init__(
        self,
        http: EgressClient,
        token: TokenProvider,
        *,
        limits: ArchiveLimits | None = None,
        on_refused: Callable[[], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = http
        self._token = token
        self.limits = limits or ArchiveLimits()
        self._on_refused = on_refused
        self._sleep = sleep
        self.base_url = http.registration.fhir_base_url.rstrip("/")

    def read(self, resource_type: str, resource_id: str) -> Resource:
        """Return a resource by its id; an empty one if the answer is no JSON object.

        Raises
        ------
        CdsError
            NOT_FOUND, UPSTREAM_REFUSED, UPSTREAM_FAILED, DEADLINE or EGRESS_REFUSED.

        """
        return mapping(self._json(f"{self.base_url}/{resource_type}/{resource_id}"))

    def search(
        self, resource_type: str, parameters: Iterable[tuple[str, str]]
    ) -> tuple[Resource, ...]:
        """Return every resource of a type that matches, over all pages.

        Never a part of them: a page that fails, lies outside this FHIR server or comes after
        `max_pages` fails the whole search, and so does a server that counts more than it sends.

        Raises
        ------
        CdsError
            As `read`.

        """
        asked = urlencode([*parameters, ("_count", str(self.limits.page_size))], safe="/:,")
        url: str | None = f"{self.base_url}/{resource_type}?{asked}"
        matches: list[Resource] = []
        n_sent, n_stated = 0, 0
        seen: set[str] = set()
        while url is not None:
            seen.add(url)
            answer = answer_from_json(self._json(url), resource_type)
            if answer.has_failed:
                raise CdsError(Reason.UPSTREAM_FAILED, "The EHR answered without data.")
            matches.extend(answer.matches)
            n_sent += len(answer.matches) + answer.n_malformed
            n_stated = max(n_stated, answer.n_stated or 0)
            url = answer.next_url
            if url is not None:
                self._check_next(url, seen, resource_type)
        if n_sent < n_stated:  # Medplum links to nothing beyond its first page (seen in 2026-11)
            raise CdsError(
                Reason.UPSTREAM_FAILED,
                f"{resource_type}: the EHR sent {n_sent} of {n_stated} and no link to the rest.",
            )
        return tuple(matches)

    def count_is_positive(self, resource_type: str, parameters: Iterable[tuple[str, str]]) -> bool:
        """Tell whether a search finds anything; False also where the server cannot be asked so."""
        asked = urlencode([*parameters, ("_count", "1")], safe="/:,")
        try:
            answer = answer_from_json(
                self._json(f"{self.base_url}/{resource_type}?{asked}"), resource_type
            )
        except CdsError as error:
            if is_fatal(error) or error.reason is Reason.DEADLINE:
                raise
            return False
        return bool(answer.matches)

    def exchange(
        self, method: str, url: str, *, headers: dict[str, str] | None = None
    ) -> requests.Response:
        """Send one request, again while the server is busy; any other status comes back.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED if it is busy for good; EGRESS_REFUSED, DEADLINE.

        """
        is_refused = False
        for attempt in range(1, self.limits.max_tries + 1):
            response = self._sent(method, url, headers or {})
            if response.status_code == UNAUTHORIZED and self._on_refused and not is_refused:
                is_refused = True
                self._on_refused()
                response = self._sent(method, url, headers or {})
            if response.status_code not in BUSY:
                return response
            if attempt < self.limits.max_tries:
                self._sleep(self.wait_s(response, default_s=2.0**attempt))
        raise CdsError(
            Reason.UPSTREAM_FAILED,
            f"The EHR answered {response.status_code} each of {self.limits.max_tries} times.",
            status=response.status_code,
        )

    def _sent(self, method: str, url: str, headers: dict[str, str]) -> requests.Response:
        session = self._http.session(
            deadline=TimeLimit(self.limits.request_s),
            credential=self.credential(),
            max_bytes=self.limits.max_answer_bytes,
            any_status=True,
            peer_name="The EHR",
        )
        return session.request(method, url, headers={"Accept": JSON_TYPES, **headers})

    def credential(self) -> BoundCredential | None:
        """Return our token, bound to the FHIR server's origin; None without one."""
        token = self._token()
        return None if token is None else bearer(token, self.base_url)

    def wait_s(self, response: requests.Response, *, default_s: float) -> float:
        """Return how long the server asks to wait, within bounds."""
        asked_s = retry_after_s(response.headers, now=datetime.now(UTC))
        return min(self.limits.max_wait_s, default_s if asked_s is None else asked_s)

    def _json(self, url: str) -> Any:  # noqa: ANN401  # JSON
        # HAPI FHIR answers an identical search from a cache for 60 s (seen with 8.8.0 in 2026-11).
        response = self.exchange("GET", url, headers={"Cache-Control": "no-cache"})
        check_status(response.status_code)
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError:
            raise CdsError(
                Reason.UPSTREAM_FAILED, "The EHR answered with something that is not JSON."
            ) from None

    def _check_next(self, url: str, seen: set[str], resource_type: str) -> None:
        if not is_below(url, self.base_url):
            raise CdsError(
                Reason.UPSTREAM_FAILED,
                f"{resource_type}: further pages lie outside this FHIR server and were not read.",
            )
        if url in seen or len(seen) >= self.limits.max_pages:
            raise CdsError(
                Reason.UPSTREAM_FAILED,
                f"{resource_type}: the EHR's pages have no end; after {len(seen)} of them the "
                "search was given up.",
            )


def check_status(status: int) -> None:
    """Raise unless a status is 2xx.

    Raises
    ------
    CdsError
        UPSTREAM_REFUSED (401, 403), NOT_FOUND (404, 410) or UPSTREAM_FAILED.

    """
    if 200 <= status < 300:
        return
    if status in REFUSED:
        raise CdsError(
            Reason.UPSTREAM_REFUSED, f"The EHR refused access ({status}).", status=status
        )
    if status in GONE:
        raise CdsError(Reason.NOT_FOUND, "The EHR does not know what was asked for.", status=status)
    raise CdsError(Reason.UPSTREAM_FAILED, f"The EHR answered {status}.", status=status)


def is_fatal(error: CdsError) -> bool:
    """Tell whether the next request cannot fare better: no token, no way there."""
    return error.facts.get("status") == UNAUTHORIZED or error.reason in {
        Reason.EGRESS_REFUSED,
        Reason.INVALID_CONFIGURATION,
    }


def search_value(value: str) -> str:
    r"""Return a value as a token search wants it, its separators escaped (FHIR R4, 3.1.1.4.0.1).

    Examples
    --------
    >>> search_value("A,7|x")
    'A\\,7\\|x'

    """
    for separator in "\\,|$":
        value = value.replace(separator, f"\\{separator}")
    return value
