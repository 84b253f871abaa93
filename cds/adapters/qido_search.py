"""QIDO-RS page by page, through the gate: whole answers, or the knowledge that one is cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from cds.adapters import dicom_json
from cds.adapters.dicom_objects import PEER_NAME
from cds.adapters.dicomweb_service import MAX_SEARCH_BYTES
from cds.adapters.egress import EgressClient
from cds.adapters.egress_session import BoundCredential
from cds.adapters.pacs_gate import Meter, PacsGate, Work
from cds.domain.errors import CdsError, Reason
from cds.domain.time_limit import TimeLimit

Parameters = Mapping[str, str | tuple[str, ...]]

PAGE = 100
INSTANCES_PAGE = 1000
MAX_PAGES = 200
# No archive is set up to cut its answers below this; a shorter one is whole.
SMALLEST_CAP = 10
ACCEPT_JSON = "application/dicom+json"
CUT_WARNING = "299"  # Source: PS3.18 section 10.6.3.1.2, "additional results"


class End(StrEnum):
    """How a list came to its end: proven whole, ended but perhaps cut, repeated, or not read on."""

    WHOLE = "whole"
    UNPROVEN = "unproven"
    REPEATED = "repeated"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave.

    Attributes
    ----------
    answers
        DICOM JSON, each object once.
    end
        How far they are all that matches.
    is_warned
        Whether the server said that there are more.

    """

    answers: tuple[Any, ...]
    end: End
    is_warned: bool = False

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing can be missing."""
        return self.end is End.WHOLE

    @property
    def looks_cut(self) -> bool:
        """Tell whether the server said so, or the number looks like a limit somebody has set."""
        n = len(self.answers)
        is_limit = _is_round(n) or _is_round(n - 1)  # Orthanc answers one more than its limit
        return not self.is_whole and (self.is_warned or is_limit)


@dataclass(frozen=True, slots=True)
class _Page:
    answers: list[Any]
    is_warned: bool


@dataclass(slots=True)
class QidoSearch:
    """Searches of one DICOMweb service.

    A server may cut its lists without a word, before or after it applies `offset`, and may ignore
    `offset` altogether. A list that is shorter than another one of the same kind cannot have been
    cut, since such limits are constant; of any other one that is not known.

    Attributes
    ----------
    longest_page, longest
        Lengths of the longest page and of the longest list so far, by the tag that tells the
        answers apart.

    """

    root: str
    client: EgressClient
    credential: BoundCredential | None
    gate: PacsGate
    work: Work = Work.BULK
    longest_page: dict[str, int] = field(default_factory=dict)
    longest: dict[str, int] = field(default_factory=dict)

    def search(
        self,
        path: str,
        parameters: Parameters,
        *,
        key: str,
        page: int = PAGE,
        pages_on: bool = True,
        is_persistent: bool = False,
    ) -> Found:
        """Return what matches.

        Parameters
        ----------
        path
            Below the service root, for example ``/studies``.
        parameters
            Of the query, without `limit` and `offset`.
        key
            Tag of the UID that tells the answers apart.
        page
            Answers asked for at once.
        pages_on
            False stops after the first page, where that is not the whole.
        is_persistent
            As in `PacsGate.ask`.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED, UPSTREAM_REFUSED or DEADLINE; UPSTREAM_FAILED too if the pages do not
            end.

        """
        found: dict[str, Any] = {}
        offset = 0
        for _ in range(MAX_PAGES):
            query = {**parameters, "limit": str(page), "offset": str(offset)}
            one = self._page(path, query, is_persistent=is_persistent)
            fresh = {
                uid: answer
                for answer in one.answers
                if (uid := dicom_json.uid_at(answer, key)) and uid not in found
            }
            if one.answers and not fresh and offset:
                return Found(tuple(found.values()), End.REPEATED, one.is_warned)
            found.update(fresh)
            if self._is_last(one, key, page):
                return Found(tuple(found.values()), self._end(key, len(found)))
            if not pages_on:
                return Found(tuple(found.values()), End.OPEN, one.is_warned)
            offset += len(one.answers)
        raise CdsError(
            Reason.UPSTREAM_FAILED,
            f"The PACS's answer to a search did not end after {MAX_PAGES} pages.",
        )

    def lists_more(self, n: int, path: str, parameters: Parameters, *, key: str) -> bool:
        """Tell whether the server lists more than so many at all; then fewer were not cut.

        Parameters
        ----------
        n
            Length of the list in doubt.
        path, parameters
            A search that matches more.
        key
            As in `search`.

        """
        query = {**parameters, "limit": "1", "offset": str(n + 1)}
        if not self._page(path, query, is_persistent=True).answers:
            return False
        self.longest[key] = max(self.longest.get(key, SMALLEST_CAP), n + 1)
        return True

    def _is_last(self, one: _Page, key: str, page: int) -> bool:
        n, longest = len(one.answers), self.longest_page.get(key, SMALLEST_CAP)
        self.longest_page[key] = max(longest, n)
        return n == 0 or (n < min(longest, page) and not one.is_warned)

    def _end(self, key: str, n: int) -> End:
        longest = self.longest.get(key, SMALLEST_CAP)
        self.longest[key] = max(longest, n)
        return End.WHOLE if n < longest else End.UNPROVEN

    def _page(self, path: str, query: Parameters, *, is_persistent: bool) -> _Page:
        url = f"{self.root}{path}?{urlencode(query, doseq=True)}"

        def request(meter: Meter) -> _Page:
            return self._asked(url, meter)

        try:
            return self.gate.ask(request, work=self.work, is_persistent=is_persistent)
        except CdsError as error:
            if error.reason is Reason.NOT_FOUND:  # so some servers say that nothing matches
                return _Page([], is_warned=False)
            raise

    def _asked(self, url: str, meter: Meter) -> _Page:
        response = self.client.get(
            url,
            deadline=TimeLimit(self.gate.policy.request_limit_s),
            headers={"Accept": ACCEPT_JSON, "Cache-Control": "no-cache"},
            credential=self.credential,
            max_bytes=MAX_SEARCH_BYTES,
            peer_name=PEER_NAME,
        )
        meter(len(response.body))
        answers = [] if response.status == 204 or not response.body else response.json()
        if not isinstance(answers, list):
            raise CdsError(
                Reason.UPSTREAM_FAILED, "The PACS answered a search with something else than JSON."
            )
        warning = response.headers.get("Warning", "").lstrip()
        return _Page(answers, is_warned=warning.startswith(CUT_WARNING) and bool(answers))


def _is_round(n: int) -> bool:
    return n > 0 and (n % 10 == 0 or n % 25 == 0 or (n >= 16 and n & (n - 1) == 0))
