"""The one HTTP client factory: every byte that leaves for an EHR or a PACS passes here.

Only registered origins, only permitted addresses, no redirects, no proxies, no cookies; sizes and
times are bounded; credentials are sent to the origin that they are bound to and to no other.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from cds.adapters.egress_policy import EgressPolicy, Origin, origin_of
from cds.adapters.egress_session import BoundCredential, Bounds, EgressSession, Transport
from cds.adapters.egress_transport import PinnedAdapter, Resolver, addresses_of
from cds.domain.errors import CdsError, Reason
from cds.domain.secrecy import SecretText

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from cds.domain.registration import EhrRegistration
    from cds.ports import Deadline

DEFAULT_MAX_BYTES = 2 * 1024 * 1024


def bearer(token: SecretText, url: str) -> BoundCredential:
    """Return an access token bound to the origin of `url`."""
    header = SecretText(f"Bearer {token.reveal()}")
    return BoundCredential(origin_of(url), header, is_callers_own=True)


def basic(user: str, password: SecretText, url: str) -> BoundCredential:
    """Return user name and password bound to the origin of `url`."""
    pair = b64encode(f"{user}:{password.reveal()}".encode()).decode()
    return BoundCredential(origin_of(url), SecretText(f"Basic {pair}"))


@dataclass(frozen=True, slots=True, repr=False)
class EgressResponse:
    """What came back; the body is whole and bounded."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Any:  # noqa: ANN401  # JSON
        """Return the body as JSON.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED if it is none.

        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise CdsError(
                Reason.UPSTREAM_FAILED, "A server answered with something that is not JSON."
            ) from error

    def __repr__(self) -> str:
        return f"EgressResponse({self.status}, {len(self.body)} bytes)"


class EgressClient:
    """HTTP to the registered origins of one EHR. Safe to use from several threads.

    Parameters
    ----------
    registration
        Says which origins and networks are permitted.
    development
        True allows http.
    ca_file
        Certificates to trust instead of the public ones.
    resolve
        Host and port -> addresses; another one in tests.

    """

    def __init__(
        self,
        registration: EhrRegistration,
        *,
        development: bool = False,
        ca_file: Path | None = None,
        resolve: Resolver = addresses_of,
    ) -> None:
        self.registration = registration
        self._policy = EgressPolicy(registration, development=development)
        self._adapter = PinnedAdapter(self._policy, resolve)
        self._verify: bool | str = str(ca_file) if ca_file else True

    def allows(self, url: str) -> bool:
        """Tell whether the origin of `url` is registered; nothing is looked up for that."""
        try:
            self._policy.checked_origin(url)
        except CdsError:
            return False
        return True

    def get(
        self,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        credential: BoundCredential | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        peer_name: str | None = None,
    ) -> EgressResponse:
        """Fetch `url`; only a 2xx answer comes back.

        Parameters
        ----------
        url
            Absolute, on a registered origin.
        deadline
            Bounds connecting and the whole answer.
        headers
            Further headers.
        credential
            Sent only if `url` has its origin.
        max_bytes
            Of the body.
        peer_name
            As in `session`.

        Raises
        ------
        CdsError
            EGRESS_REFUSED, DEADLINE, NOT_FOUND (404, 410), UPSTREAM_REFUSED (401, 403) or
            UPSTREAM_FAILED, with the fact ``status`` where there was one, ``retry_after_s`` where a
            429 or 503 asks to wait, and ``max_bytes`` where the body was larger than that.

        """
        session = self.session(
            deadline=deadline, credential=credential, max_bytes=max_bytes, peer_name=peer_name
        )
        return _response(session.get(url, headers=dict(headers or {})))

    def download(
        self,
        url: str,
        sink: Callable[[bytes], None],
        *,
        deadline: Deadline,
        credential: BoundCredential | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        accept: str = "*/*",
    ) -> None:
        """Fetch `url` and hand its body on chunk by chunk; it is never whole in memory.

        Parameters
        ----------
        url
            Absolute, on a registered origin.
        sink
            Called with each chunk of a 2xx answer; what it raises ends the download.
        deadline
            Bounds connecting and the whole answer.
        credential
            Sent only if `url` has its origin.
        max_bytes
            Of the body.
        accept
            Media types.

        Raises
        ------
        CdsError
            As `get`; the sink may then have got a part of the body.

        """
        transport = Transport(self._policy, self._adapter, self._verify)
        bounds = Bounds(deadline, max_bytes, any_status=False, sink=sink)
        names = _peer_names(self.registration)
        EgressSession(transport, bounds, credential, names).get(url, headers={"Accept": accept})

    def post_form(
        self,
        url: str,
        form: Mapping[str, str],
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        credential: BoundCredential | None = None,
    ) -> EgressResponse:
        """Post a form; an answer of any status but a redirect comes back.

        Parameters
        ----------
        url
            Absolute, on a registered origin.
        form
            Fields of the form.
        deadline
            Bounds connecting and the whole answer.
        headers
            Further headers.
        credential
            Sent only if `url` has its origin.

        Raises
        ------
        CdsError
            EGRESS_REFUSED, DEADLINE or UPSTREAM_FAILED.

        """
        session = self.session(deadline=deadline, credential=credential, any_status=True)
        return _response(session.post(url, data=dict(form), headers=dict(headers or {})))

    def session(
        self,
        *,
        deadline: Deadline,
        credential: BoundCredential | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        any_status: bool = False,
        peer_name: str | None = None,
    ) -> EgressSession:
        """Return a `requests` session for libraries that want one; all rules hold in it.

        Parameters
        ----------
        deadline
            Bounds each request.
        credential
            Sent only to its origin.
        max_bytes
            Of each body.
        any_status
            False raises for 4xx and 5xx.
        peer_name
            What sentences call the other side; None goes by origin, which EHR and PACS may share.

        """
        transport = Transport(self._policy, self._adapter, self._verify)
        bounds = Bounds(deadline, max_bytes, any_status)
        names = _peer_names(self.registration)
        if peer_name is not None:
            names = dict.fromkeys(names, peer_name)
        return EgressSession(transport, bounds, credential, names)


def _response(response: requests.Response) -> EgressResponse:
    return EgressResponse(response.status_code, response.headers, response.content)


def _peer_names(registration: EhrRegistration) -> dict[Origin, str]:
    names: dict[Origin, str] = {}
    if registration.default_pacs_url:
        names[origin_of(registration.default_pacs_url)] = "The PACS"
    names[origin_of(registration.fhir_base_url)] = "The EHR"
    return names


class EgressClients:
    """One client per EHR, kept, so that its connections are used again.

    Parameters
    ----------
    development
        True allows http.
    ca_file
        Certificates to trust instead of the public ones.

    """

    def __init__(self, *, development: bool = False, ca_file: Path | None = None) -> None:
        self.development = development
        self.ca_file = ca_file
        self._clients: dict[EhrRegistration, EgressClient] = {}
        self._owner_pid = os.getpid()

    def __call__(self, registration: EhrRegistration) -> EgressClient:
        """Return the client of a registration; a changed registration gets a new one."""
        if self._owner_pid != os.getpid():  # connections do not survive a fork
            self._clients, self._owner_pid = {}, os.getpid()
        client = self._clients.get(registration)
        if client is None:
            client = self._clients[registration] = self.opened(registration)
        return client

    def opened(self, registration: EhrRegistration) -> EgressClient:
        """Return a new client of a registration."""
        return EgressClient(registration, development=self.development, ca_file=self.ca_file)
