"""Access tokens without a user: SMART Backend Services, one token per EHR and scope at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from cds.adapters.client_assertion import AssertionFacts, client_assertion
from cds.adapters.granted_scopes import missing_scopes
from cds.adapters.smart_configuration import SmartConfigurations
from cds.adapters.token_grant import PEER, TokenGrant, TokenRequest, request_token
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration

if TYPE_CHECKING:
    from cds.adapters.backend_keys import SigningKey
    from cds.adapters.egress import EgressClient
    from cds.domain.registration import SigningAlgorithm
    from cds.domain.secrecy import SecretText
    from cds.ports import Clock, Deadline

SPARE = timedelta(seconds=30)  # a request that starts with the token also ends with it
SPARE_SHARE = 0.25  # of the lifetime, where that is less


class SigningKeys(Protocol):
    """Where the key comes from that signs for an EHR; `SqlBackendKeys` is one."""

    def signing_key(self, ehr_id: str, algorithm: SigningAlgorithm) -> SigningKey:
        """Return the active key; CdsError INVALID_CONFIGURATION if there is none."""
        ...


@dataclass(slots=True)
class _Place:
    """What is kept for one EHR and scope; its lock lets one thread ask while others wait."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    registration: EhrRegistration | None = None
    grant: TokenGrant | None = None
    fresh_until: datetime | None = None


class BackendServiceTokens:
    """Our own access tokens, kept in memory until shortly before they end.

    Several threads may ask at once: one asks the server, the others get its token. A forked process
    starts empty, with locks of its own. Tokens are never logged, printed or stored.

    Parameters
    ----------
    clients
        Registration -> HTTP client of that EHR.
    keys
        Our key pairs.
    clock
        Says when a token ends.

    """

    def __init__(
        self,
        clients: Callable[[EhrRegistration], EgressClient],
        keys: SigningKeys,
        clock: Clock,
    ) -> None:
        self._clients = clients
        self._keys = keys
        self._clock = clock
        self._start_empty()

    def access_token(
        self, registration: EhrRegistration, *, scope: str, deadline: Deadline
    ) -> SecretText:
        """Return a token that grants all of `scope` and is valid for a while yet.

        Parameters
        ----------
        registration
            Of the EHR; names our client there.
        scope
            Space-separated SMART scopes, for example ``system/Patient.rs``.
        deadline
            Bounds waiting for another thread, and the call to the server.

        Raises
        ------
        CdsError
            INVALID_CONFIGURATION if no backend client or key is configured; UPSTREAM_REFUSED if
            the server refuses us or grants less than asked, naming what is missing;
            UPSTREAM_FAILED, EGRESS_REFUSED or DEADLINE as `request_token` and
            `read_smart_configuration`.

        """
        place = self._place(registration.ehr_id, scope)
        if not place.lock.acquire(timeout=deadline.remaining_s()):
            raise CdsError(Reason.DEADLINE, f"{PEER} did not answer in time.")
        try:
            is_fresh = place.fresh_until is not None and self._clock.now() < place.fresh_until
            if place.grant is not None and is_fresh and place.registration == registration:
                return place.grant.access_token
            grant = self.request(registration, scope=scope, deadline=deadline)
            check_granted(registration, asked=scope, granted=grant.scope)
            place.registration, place.grant = registration, grant
            place.fresh_until = self._fresh_until(grant)
            return grant.access_token
        finally:
            place.lock.release()

    def request(
        self, registration: EhrRegistration, *, scope: str, deadline: Deadline
    ) -> TokenGrant:
        """Ask the server for a new token, whatever it grants; nothing is kept.

        Raises
        ------
        CdsError
            As `access_token`, but for what was granted.

        """
        client_id = registration.backend_client_id
        if not client_id:
            raise CdsError(
                Reason.INVALID_CONFIGURATION,
                f"EHR {registration.ehr_id} has no backend-services client, so nothing can be read "
                "without a user; register one there and add it with --backend-client-id.",
            )
        key = self._keys.signing_key(registration.ehr_id, registration.backend_algorithm)
        configuration = self._configurations.read(registration, deadline=deadline)
        endpoint = configuration.token_endpoint
        now = self._clock.now()
        return request_token(
            self._clients(registration),
            TokenRequest(registration.ehr_id, client_id, endpoint, scope, key.key_id),
            client_assertion(AssertionFacts(client_id, endpoint), key, now=now),
            now=now,
            deadline=deadline,
        )

    def forget(self, registration: EhrRegistration, *, scope: str) -> None:
        """Drop a token that the EHR refused although its time was not up."""
        place = self._place(registration.ehr_id, scope)
        place.fresh_until = None

    def _fresh_until(self, grant: TokenGrant) -> datetime:
        lifetime = grant.expires_at - self._clock.now()
        return grant.expires_at - min(SPARE, lifetime * SPARE_SHARE)

    def _place(self, ehr_id: str, scope: str) -> _Place:
        if self._owner_pid != os.getpid():  # a lock that was held at the fork is held for ever
            self._start_empty()
        with self._lock:
            return self._places.setdefault((ehr_id, scope), _Place())

    def _start_empty(self) -> None:
        self._places: dict[tuple[str, str], _Place] = {}
        self._lock = threading.Lock()
        self._configurations = SmartConfigurations(self._clients)
        self._owner_pid = os.getpid()


def check_granted(registration: EhrRegistration, *, asked: str, granted: str) -> None:
    """Refuse a grant that is narrower than what was asked: some servers narrow without a word.

    Raises
    ------
    CdsError
        UPSTREAM_REFUSED naming the scopes that are missing.

    """
    missing = missing_scopes(asked, granted)
    if missing:
        raise CdsError(
            Reason.UPSTREAM_REFUSED,
            f"{PEER} granted less than was asked for; missing: {' '.join(missing)}. Have these "
            f"scopes granted to client {registration.backend_client_id}, or register fewer "
            "(--backend-scope).",
            error="insufficient_scope",
        )
