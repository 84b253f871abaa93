"""Connections to exactly the address that was checked, with a bound on their whole duration."""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError

from cds.adapters.egress_policy import origin_of
from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from requests import PreparedRequest, Response
    from urllib3.response import HTTPResponse

    from cds.adapters.egress_policy import EgressPolicy

Resolver = Callable[[str, int], Sequence[str]]

RESOLVED_FOR_S = 30.0
RESOLVE_TIMEOUT_S = 3.0
POOL_SIZE = 8


def addresses_of(host: str, port: int) -> tuple[str, ...]:
    """Return the addresses that a host name resolves to."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class PinnedAdapter(HTTPAdapter):
    """A `requests` adapter that resolves once, checks every address, and connects to it.

    TLS still verifies the host name, and the Host header is the caller's business.

    Parameters
    ----------
    policy
        Says which addresses are permitted.
    resolve
        Host and port -> addresses.

    """

    def __init__(self, policy: EgressPolicy, resolve: Resolver) -> None:
        self._policy = policy
        self._resolve = resolve
        self._resolved: dict[tuple[str, int], tuple[float, str]] = {}
        super().__init__(pool_connections=POOL_SIZE, pool_maxsize=POOL_SIZE, max_retries=0)

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:  # noqa: ANN401  # requests' own
        """Send a request; once its time is up no byte of it, and no credential, leaves.

        The second of the two timeouts bounds everything from here on: looking up the name,
        connecting, the handshake and the answer, each of which knows only a timeout of its own.
        """
        _BOUND.until_s = time.monotonic() + float(kwargs["timeout"][1])
        return super().send(request, *args, **kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # requests' own
        """Make connection pools whose connections are bounded as a whole."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _BoundedPool,
            "https": _BoundedTlsPool,
        }

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: Any,  # noqa: ANN401  # requests' own
        proxies: Any = None,  # noqa: ANN401  # proxies are never used
        cert: Any = None,  # noqa: ANN401  # requests' own
    ) -> Any:  # noqa: ANN401  # requests' own
        """Return the pool for the checked address of the request's host."""
        origin = origin_of(request.url or "")
        _, tls = self.build_connection_pool_key_attributes(request, verify, cert)
        pool_parameters: dict[str, Any] = dict(tls.items())
        if origin.scheme == "https":
            pool_parameters["server_hostname"] = origin.host
            pool_parameters["assert_hostname"] = origin.host
        return self.poolmanager.connection_from_host(
            host=self._checked_address(origin.host, origin.port),
            port=origin.port,
            scheme=origin.scheme,
            pool_kwargs=pool_parameters,
        )

    def _checked_address(self, host: str, port: int) -> str:
        known_until_s, address = self._resolved.get((host, port), (0.0, ""))
        now_s = time.monotonic()
        if now_s < known_until_s:
            return address
        address = self._policy.checked_address(self._addresses(host, port))
        self._resolved[host, port] = (now_s + RESOLVED_FOR_S, address)
        return address

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            return resolved_in_time(self._resolve, host, port)


def resolved_in_time(resolve: Resolver, host: str, port: int) -> Sequence[str]:
    """Resolve in a thread, because getaddrinfo knows no time limit; nothing found is empty.

    Raises
    ------
    CdsError
        UPSTREAM_FAILED if there is no answer within `RESOLVE_TIMEOUT_S`.

    """
    answers: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(resolve(host, port))
        except OSError:
            answers.put(())

    threading.Thread(target=look_up, daemon=True).start()
    try:
        return answers.get(timeout=RESOLVE_TIMEOUT_S)
    except queue.Empty as error:
        raise CdsError(
            Reason.UPSTREAM_FAILED, "The EHR's host name could not be resolved in time."
        ) from error


class _Watchdog:
    """Cuts a connection when the whole answer, head and body, takes longer than the timeout.

    A socket's own timeout starts anew with each byte, so a server that sends one byte at a time
    would hold a caller for ever.
    """

    def __init__(self, sock: socket.socket | None, timeout_s: float) -> None:
        self._sock = sock
        self.has_cut = False
        self._timer = threading.Timer(timeout_s, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        self._timer.cancel()

    def _cut(self) -> None:
        self.has_cut = True
        if self._sock is None:
            return
        try:
            # Not the TLS socket's own shutdown: it would change state that another thread uses.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError:
            return  # closed meanwhile


_WATCHDOGS: WeakKeyDictionary[Any, _Watchdog] = WeakKeyDictionary()


def was_cut(response: object) -> bool:
    """End the bound on an answer that has been read, and tell whether it cut the connection.

    A cut answer without a stated length looks like a whole one: it must not be used.
    """
    watchdog = _WATCHDOGS.pop(response, None)
    if watchdog is None:
        return False
    watchdog.stop()
    return watchdog.has_cut


def _watched(
    sock: socket.socket | None, timeout_s: float, get_response: Callable[[], HTTPResponse]
) -> HTTPResponse:
    watchdog = _Watchdog(sock, timeout_s)
    try:
        response = get_response()
    except BaseException:
        watchdog.stop()
        raise
    _WATCHDOGS[response] = watchdog
    return response


class _Bound(threading.local):
    """When the exchange of this thread is over, on the monotonic clock."""

    until_s: float = 0.0

    def left_s(self) -> float:
        return self.until_s - time.monotonic()

    def check(self, connection: HTTPConnection) -> None:
        """Refuse to go on after the time is up.

        Raises
        ------
        ConnectTimeoutError
            Before anything of the request was sent.

        """
        if self.left_s() <= 0:
            raise ConnectTimeoutError(connection, "The time was up before the request was sent.")


_BOUND = _Bound()


class _BoundedConnection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _BOUND.check(self)

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # urllib3's own
        _BOUND.check(self)
        super().request(*args, **kwargs)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3's own answer class
        return _watched(self.sock, max(_BOUND.left_s(), 0.0), super().getresponse)


class _BoundedTlsConnection(_BoundedConnection, HTTPSConnection):
    """The same over TLS: `super()` in the bounded methods is then the TLS connection."""


class _BoundedPool(HTTPConnectionPool):
    ConnectionCls = _BoundedConnection


class _BoundedTlsPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedTlsConnection
