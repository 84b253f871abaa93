"""A `requests` session under the egress rules, ours and for libraries that want a session."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import BaseAdapter
from requests.exceptions import RequestException, SSLError, Timeout
from urllib3.exceptions import HTTPError

from cds.adapters.egress_policy import EgressPolicy, Origin
from cds.adapters.egress_transport import was_cut
from cds.adapters.retry_after import retry_after_s
from cds.domain.errors import CdsError, Reason
from cds.domain.secrecy import SecretText
from cds.ports import Deadline

if TYPE_CHECKING:
    from requests import PreparedRequest

# Their warnings and debug lines hold whole URLs, with patient ids in the query (SAFETY R-HIP-6).
for _noisy in ("urllib3", "requests", "dicomweb_client"):
    logging.getLogger(_noisy).setLevel(logging.CRITICAL)

CONNECT_TIMEOUT_S = 3.0
CHUNK_BYTES = 256 * 1024
_SHORTEST_S = 0.001


@dataclass(frozen=True, slots=True)
class BoundCredential:
    """An Authorization header for one origin.

    Attributes
    ----------
    origin
        The only origin that gets it.
    authorization
        Value of the header.
    is_callers_own
        Whether it is the caller's access token, not an account of ours.

    """

    origin: Origin
    authorization: SecretText
    is_callers_own: bool = False


@dataclass(frozen=True, slots=True)
class Transport:
    """How requests travel."""

    policy: EgressPolicy
    adapter: BaseAdapter
    verify: bool | str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one answer may cost.

    Attributes
    ----------
    any_status
        Lets 4xx and 5xx come back.
    sink
        Gets the body of a 2xx answer chunk by chunk, so that it is never whole in memory.

    """

    deadline: Deadline
    max_bytes: int
    any_status: bool
    sink: Callable[[bytes], None] | None = None


class EgressSession(requests.Session):
    """A `requests` session under the egress rules; made by `EgressClient.session`."""

    def __init__(
        self,
        transport: Transport,
        bounds: Bounds,
        credential: BoundCredential | None,
        peer_names: Mapping[Origin, str],
    ) -> None:
        super().__init__()
        self.trust_env = False
        self._transport = transport
        self._bounds = bounds
        self._credential = credential
        self._peer_names = peer_names

    def request(
        self,
        method: str | bytes,
        url: str | bytes,
        *args: Any,  # noqa: ANN401  # passed on
        **kwargs: Any,  # noqa: ANN401  # passed on
    ) -> requests.Response:
        """Refuse a URL that is not permitted as it was written, then go on."""
        self._transport.policy.checked_origin(url if isinstance(url, str) else url.decode())
        return super().request(method, url, *args, **kwargs)

    def send(self, request: PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401  # the session's own timeouts hold
        """Send one request and read its whole answer.

        Raises
        ------
        CdsError
            As `EgressClient.get`.

        """
        origin = self._transport.policy.checked_origin(request.url or "")
        peer = self._peer_names.get(origin, "A server of the EHR")
        self._complete(request, origin)
        try:
            response = self._exchange(request, peer)
        except requests.exceptions.ConnectionError as error:
            # A kept connection that the server has closed meanwhile: once more on a new one.
            is_stale = not isinstance(error, Timeout | SSLError) and not self._is_over()
            if request.method != "GET" or not is_stale:
                raise self._failure(error, peer) from error
            response = self._exchange_again(request, peer)
        except (RequestException, HTTPError, OSError) as error:
            raise self._failure(error, peer) from error
        self._check_status(response, peer)
        return response

    def _exchange_again(self, request: PreparedRequest, peer: str) -> requests.Response:
        try:
            return self._exchange(request, peer)
        except (RequestException, HTTPError, OSError) as error:
            raise self._failure(error, peer) from error

    def _complete(self, request: PreparedRequest, origin: Origin) -> None:
        request.headers["Host"] = origin.host_header
        request.headers["Accept-Encoding"] = "identity"  # sizes are what they seem
        request.headers.pop("Cookie", None)
        credential = self._credential
        if credential is not None and credential.origin == origin:
            request.headers["Authorization"] = credential.authorization.reveal()

    def _exchange(self, request: PreparedRequest, peer: str) -> requests.Response:
        remaining_s = self._bounds.deadline.remaining_s()
        if remaining_s <= _SHORTEST_S:
            raise CdsError(Reason.DEADLINE, f"{peer} was not asked: the time was up.", n_requests=0)
        response = self._transport.adapter.send(
            request,
            stream=True,
            timeout=(min(CONNECT_TIMEOUT_S, remaining_s), remaining_s),
            verify=self._transport.verify,
        )
        response.raw = BytesIO(self._body(response, peer))
        return response

    def _body(self, response: requests.Response, peer: str) -> bytes:
        raw = response.raw
        content = bytearray()
        n_bytes = 0
        sink = self._bounds.sink if 200 <= response.status_code < 300 else None
        keep = content.extend if sink is None else sink
        try:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise CdsError(
                    Reason.UPSTREAM_FAILED, f"{peer} answered in an encoding not asked for."
                )
            stated = response.headers.get("Content-Length", "")
            if stated.isdecimal() and int(stated) > self._bounds.max_bytes:
                raise self._too_large(peer, n_read_bytes=0)
            while chunk := raw.read(CHUNK_BYTES):
                n_bytes += len(chunk)
                if n_bytes > self._bounds.max_bytes:
                    raise self._too_large(peer, n_read_bytes=n_bytes)
                keep(chunk)
        finally:
            is_cut = was_cut(raw)
            raw.close()
        if is_cut:
            raise CdsError(Reason.DEADLINE, f"{peer} did not answer in time.")
        return bytes(content)

    def _too_large(self, peer: str, *, n_read_bytes: int) -> CdsError:
        return CdsError(
            Reason.UPSTREAM_FAILED,
            f"{peer} answered with more than was allowed.",
            max_bytes=self._bounds.max_bytes,
            n_read_bytes=n_read_bytes,
        )

    def _check_status(self, response: requests.Response, peer: str) -> None:
        status = response.status_code
        if 300 <= status < 400:
            raise CdsError(
                Reason.UPSTREAM_FAILED,
                f"{peer} answered with a redirect, which is not followed.",
                status=status,
            )
        if status < 400 or self._bounds.any_status:
            return
        if status in {401, 403}:
            raise CdsError(
                Reason.UPSTREAM_REFUSED, f"{peer} refused access ({status}).", status=status
            )
        if status in {404, 410}:
            raise CdsError(
                Reason.NOT_FOUND, f"{peer} does not know what was asked for.", status=status
            )
        wait_s = retry_after_s(response.headers, now=datetime.now(UTC))
        asked = {"retry_after_s": wait_s} if status in {429, 503} and wait_s is not None else {}
        raise CdsError(Reason.UPSTREAM_FAILED, f"{peer} answered {status}.", status=status, **asked)

    def _failure(self, error: Exception, peer: str) -> CdsError:
        if self._is_over():
            return CdsError(Reason.DEADLINE, f"{peer} did not answer in time.")
        if isinstance(error, SSLError):
            return CdsError(Reason.UPSTREAM_FAILED, f"{peer} has no acceptable certificate.")
        if isinstance(error, Timeout):
            return CdsError(Reason.UPSTREAM_FAILED, f"{peer} did not answer in time.")
        return CdsError(Reason.UPSTREAM_FAILED, f"{peer} cannot be reached.")

    def _is_over(self) -> bool:
        return self._bounds.deadline.remaining_s() <= _SHORTEST_S
