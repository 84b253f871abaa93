"""FHIR reads and searches of one call: its budget of requests and bytes, and its paging."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode, urlsplit

from cds.adapters.egress import bearer
from cds.adapters.egress_policy import origin_of
from cds.domain.errors import CdsError, Reason
from cds.fhir.bundle import SearchAnswer, answer_from_json
from cds.fhir.shapes import Resource, mapping

if TYPE_CHECKING:
    from cds.adapters.egress import EgressClient
    from cds.fhir.record_queries import RecordQuery
    from cds.ports import Deadline, FhirAccess

JSON_TYPES = "application/fhir+json, application/json;q=0.9"


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """What one reading of the record may cost.

    Attributes
    ----------
    max_requests, max_bytes
        Of all requests of the reading together.
    max_pages
        Of one search.
    share_of_deadline
        How much of the caller's time the record may take; the pictures need the rest.

    """

    max_requests: int = 8
    max_bytes: int = 2 * 1024 * 1024
    max_pages: int = 5
    share_of_deadline: float = 0.6


@dataclass(frozen=True, slots=True, repr=False)
class Found:
    """What a search gave, over its pages; `missing` are phrases for what it did not give."""

    matches: tuple[Resource, ...] = ()
    included: tuple[Resource, ...] = ()
    missing: tuple[str, ...] = ()


class FhirRequests:
    """Reads of one call with one token. Safe to use from several threads.

    Parameters
    ----------
    http
        Of the EHR.
    access
        Its token is bound to the origin of the FHIR base URL.
    deadline
        Bounds each request.
    limits
        What the call may cost.

    """

    def __init__(
        self, http: EgressClient, access: FhirAccess, deadline: Deadline, limits: ReaderLimits
    ) -> None:
        self._http = http
        self._base_url = access.registration.fhir_base_url.rstrip("/")
        self._credential = (
            bearer(access.access_token, self._base_url) if access.access_token else None
        )
        self._deadline = deadline
        self._limits = limits
        self._lock = threading.Lock()
        self._n_requests = 0
        self._n_bytes = 0

    def read(self, resource_type: str, resource_id: str) -> Resource:
        """Return a resource by its id; an empty one if the answer is no JSON object.

        Raises
        ------
        CdsError
            As `EgressClient.get`; UPSTREAM_FAILED when the budget is used up.

        """
        url = f"{self._base_url}/{resource_type}/{resource_id}"
        return mapping(self._get(url, is_fresh=False))

    def search(self, query: RecordQuery, patient_id: str) -> Found:
        """Return the patient's resources of one kind; further pages as far as the budget goes.

        Raises
        ------
        CdsError
            As `EgressClient.get` for the first page; UPSTREAM_FAILED for an answer without data.

        """
        # With the type: Medplum finds nothing for a bare id (seen in 2026-11).
        parameters = (("patient", f"Patient/{patient_id}"), *query.parameters)
        url = f"{self._base_url}/{query.resource_type}?{urlencode(parameters, safe='/:,')}"
        answer = answer_from_json(self._get(url, is_fresh=query.is_fresh), query.resource_type)
        if answer.has_failed:
            raise CdsError(Reason.UPSTREAM_FAILED, "The EHR answered without data.")
        return self.follow(answer, query)

    def follow(self, first: SearchAnswer, query: RecordQuery) -> Found:
        """Return a first page with those that follow it.

        Pages outside this FHIR server, also at its origin, are not fetched; those and pages that
        fail are named, not fatal.
        """
        matches, included, n_malformed = [*first.matches], [*first.included], first.n_malformed
        missing: list[str] = []
        next_url, n_pages = first.next_url, 1
        while next_url:
            problem = self._why_not(next_url, n_pages)
            if problem:
                missing.append(problem)
                break
            try:
                page = answer_from_json(
                    self._get(next_url, is_fresh=query.is_fresh), query.resource_type
                )
            except CdsError as error:
                missing.append(f"page {n_pages + 1} could not be read ({error.reason.value})")
                break
            matches.extend(page.matches)
            included.extend(page.included)
            n_malformed += page.n_malformed
            next_url, n_pages = page.next_url, n_pages + 1
        if n_malformed:
            missing.append(f"{n_malformed} entries could not be understood")
        n_read = len(matches) + n_malformed
        if not missing and first.n_stated is not None and n_read < first.n_stated:
            # Medplum sends no link to what is beyond its first page (seen in 2026-11).
            missing.append(f"the EHR sent {n_read} of {first.n_stated}")
        return Found(tuple(matches), tuple(included), tuple(missing))

    def _why_not(self, next_url: str, n_pages: int) -> str | None:
        if not is_below(next_url, self._base_url):
            return "further pages lie outside this FHIR server and were not read"
        if self._credential is None:
            return "only the first page was sent"
        if n_pages >= self._limits.max_pages or self._n_requests >= self._limits.max_requests:
            return f"only the first {n_pages} pages were read"
        return None

    def _get(self, url: str, *, is_fresh: bool) -> Any:  # noqa: ANN401  # JSON
        left = self._claim()
        headers = {"Accept": JSON_TYPES}
        if is_fresh:
            headers["Cache-Control"] = "no-cache"
        response = self._http.get(
            url,
            deadline=self._deadline,
            headers=headers,
            credential=self._credential,
            max_bytes=left,
        )
        with self._lock:
            self._n_bytes += len(response.body)
        return response.json()

    def _claim(self) -> int:
        with self._lock:
            left = self._limits.max_bytes - self._n_bytes
            if self._n_requests >= self._limits.max_requests or left <= 0:
                raise CdsError(
                    Reason.UPSTREAM_FAILED, "The record is larger than one call may read."
                )
            self._n_requests += 1
            return left


def is_below(url: str, base_url: str) -> bool:
    """Tell whether a URL lies under a FHIR base: one origin may serve several hospitals."""
    try:
        is_same_origin = origin_of(url) == origin_of(base_url)
    except CdsError:
        return False
    path, base_path = urlsplit(url).path, urlsplit(base_url).path
    climbs = any(unquote(segment) in {".", ".."} for segment in path.split("/"))
    return is_same_origin and not climbs and f"{path}/".startswith(f"{base_path}/")
