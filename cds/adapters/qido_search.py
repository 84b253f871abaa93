"""QIDO-RS page by page, through the gate: whole answers, or the knowledge that one is cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave.

    Attributes
    ----------
    answers
        DICOM JSON, each object once.
    is_whole
        False if more may match than came.
    is_cut
        True if more match for certain, or very likely.

    """

    answers: tuple[Any, ...]
    is_whole: bool
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class _Page:
    answers: list[Any]
    is_warned: bool


@dataclass(slots=True)
class QidoSearch:
    """Searches of one DICOMweb service.

    A server may cut its answers without a word, and may ignore `offset`. Both are found out: an
    answer that is shorter than another one of the same kind cannot have been cut; any other is
    followed by a second page, which is empty, new, or the first once more.

    Attributes
    ----------
    longest
        Length of the longest answer so far, by the tag that tells the answers apart.

    """

    root: str
    client: EgressClient
    credential: BoundCredential | None
    gate: PacsGate
    work: Work = Work.BULK
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
            if one.answers and not fresh:  # it ignores `offset`
                n_last = len(one.answers)
                is_cut = one.is_warned or n_last == page or _is_round(n_last)
                return Found(tuple(found.values()), is_whole=False, is_cut=is_cut)
            found.update(fresh)
            longest = self.longest.get(key, SMALLEST_CAP)
            is_short = len(one.answers) < min(longest, page)
            self.longest[key] = max(longest, len(one.answers))
            if not one.answers or (is_short and not one.is_warned):
                return Found(tuple(found.values()), is_whole=True)
            if not pages_on:
                return Found(tuple(found.values()), is_whole=False)
            offset += len(one.answers)
        raise CdsError(
            Reason.UPSTREAM_FAILED,
            f"The PACS's answer to a search did not end after {MAX_PAGES} pages.",
        )

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
    """Tell whether a number looks like a limit that somebody set, not like a count."""
    return n % 50 == 0 or (n >= 32 and n & (n - 1) == 0)
