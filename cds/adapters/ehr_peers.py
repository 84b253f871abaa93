"""The servers of each EHR, through the egress rules: record, pictures, tokens, keys."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

from cds.adapters.dicomweb import DicomwebSource
from cds.adapters.egress import EgressClient, EgressClients, EgressResponse, basic
from cds.adapters.fhir_rest import RestFhirReader
from cds.adapters.smart_configuration import SmartConfiguration, SmartConfigurations
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration
from cds.domain.secrecy import SecretText
from cds.domain.time_limit import TimeLimit
from cds.ports import Clock, Deadline

CONFIGURATION_LIMIT_S = 5.0
INTROSPECTION_TTL = timedelta(seconds=30)  # a revoked token lives at most this much longer
REFUSAL_TTL = timedelta(seconds=10)  # a refused token is not asked about at every try
INTROSPECTION_LIMIT_S = 5.0
MAX_REMEMBERED_TOKENS = 1_000
NOT_ACTIVE = "The access token is not active."


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What the EHR's authorization server says about an active token (RFC 7662)."""

    scope: str
    client_id: str
    patient_id: str | None
    subject: str | None
    expires_at: datetime
    fhir_user: str | None = None


class EhrHttp:
    """HTTP to one EHR's registered origins; what the SMART client exchanges codes with."""

    def __init__(self, client: EgressClient) -> None:
        self._client = client

    def get(self, url: str, *, deadline: Deadline) -> EgressResponse:
        """Fetch `url`; CdsError as `EgressClient.get`."""
        return self._client.get(url, deadline=deadline)

    def post_form(
        self, url: str, form: dict[str, str], *, headers: dict[str, str], deadline: Deadline
    ) -> EgressResponse:
        """Post a form; an answer of any status comes back."""
        return self._client.post_form(url, form, headers=headers, deadline=deadline)


class EhrPeers:
    """Every EHR's servers; keeps connections, SMART configurations and recent introspections.

    Parameters
    ----------
    clients
        Egress clients by registration.
    clock
        Says when a record was read.

    """

    def __init__(self, clients: EgressClients, *, clock: Clock) -> None:
        self._clients = clients
        self.reader = RestFhirReader(clients, clock=clock)
        self.images = DicomwebSource(clients)
        self._configurations = SmartConfigurations(clients)
        self._claims: dict[tuple[str, str], tuple[datetime, TokenClaims]] = {}
        self._refused: dict[tuple[str, str], datetime] = {}
        self._lock = threading.Lock()

    def http(self, registration: EhrRegistration) -> EhrHttp:
        """Return HTTP to this EHR's registered origins."""
        return EhrHttp(self._clients(registration))

    def json_at(
        self, registration: EhrRegistration, url: str, *, deadline: Deadline
    ) -> Mapping[str, Any]:
        """Return the JSON object at a registered address.

        Raises
        ------
        CdsError
            As `EgressClient.get`; UPSTREAM_FAILED if it is no JSON object.

        """
        return _object(self._clients(registration).get(url, deadline=deadline))

    def smart_configuration(self, registration: EhrRegistration) -> SmartConfiguration:
        """Return the EHR's SMART configuration (see `SmartConfigurations.read`)."""
        return self._configurations.read(registration, deadline=TimeLimit(CONFIGURATION_LIMIT_S))

    def introspect(
        self, registration: EhrRegistration, token: SecretText, *, now: datetime
    ) -> TokenClaims:
        """Ask the EHR's authorization server about a token.

        Raises
        ------
        CdsError
            NOT_AUTHENTICATED if it is not active; UPSTREAM_FAILED if the server cannot be asked.

        References
        ----------
        RFC 7662; SMART App Launch 2.2, "Token Introspection".

        """
        place = (registration.ehr_id, hashlib.sha256(token.reveal().encode()).hexdigest())
        remembered = self._claims.get(place)
        if (
            remembered
            and now - remembered[0] < INTROSPECTION_TTL
            and remembered[1].expires_at > now
        ):
            return remembered[1]
        refused_at = self._refused.get(place)
        if refused_at is not None and now - refused_at < REFUSAL_TTL:
            raise CdsError(Reason.NOT_AUTHENTICATED, NOT_ACTIVE)
        try:
            claims = _claims(self._introspection(registration, token), now)
        except CdsError as error:
            if error.reason is Reason.NOT_AUTHENTICATED:
                self._remember_refusal(place, now)
            raise
        with self._lock:
            if len(self._claims) >= MAX_REMEMBERED_TOKENS:
                self._claims.clear()
            self._claims[place] = (now, claims)
        return claims

    def _remember_refusal(self, place: tuple[str, str], now: datetime) -> None:
        with self._lock:
            if len(self._refused) >= MAX_REMEMBERED_TOKENS:
                self._refused.clear()
            self._refused[place] = now

    def _introspection(self, registration: EhrRegistration, token: SecretText) -> Mapping[str, Any]:
        url = registration.introspection_url
        if url is None:
            url = self.smart_configuration(registration).introspection_endpoint
        if url is None:
            raise CdsError(
                Reason.UPSTREAM_FAILED,
                "The EHR names no introspection endpoint; its tokens cannot be checked.",
            )
        secret = registration.client_secret
        credential = None
        if secret is not None:
            # RFC 6749 2.3.1: both parts are form-encoded before they are joined.
            quoted = SecretText(quote_plus(secret.reveal()))
            credential = basic(quote_plus(registration.client_id), quoted, url)
        response = self._clients(registration).post_form(
            url,
            {"token": token.reveal(), "token_type_hint": "access_token"},
            deadline=TimeLimit(INTROSPECTION_LIMIT_S),
            credential=credential,
        )
        if response.status != 200:
            raise CdsError(
                Reason.UPSTREAM_FAILED,
                f"The EHR's introspection endpoint answered {response.status}.",
                status=response.status,
            )
        return _object(response)


def _object(response: EgressResponse) -> Mapping[str, Any]:
    document = response.json()
    if not isinstance(document, dict):
        raise CdsError(Reason.UPSTREAM_FAILED, "A server answered with JSON that is no object.")
    return document


def _claims(document: Mapping[str, Any], now: datetime) -> TokenClaims:
    """Return the claims of an active token; a missing `exp` is not taken for "for ever"."""
    expires_at = _moment(document.get("exp"))
    is_active = document.get("active") is True
    if not is_active or expires_at is None or expires_at <= now:
        raise CdsError(Reason.NOT_AUTHENTICATED, NOT_ACTIVE)
    texts = {
        name: value
        for name in ("scope", "client_id", "patient", "sub", "fhirUser")
        if isinstance(value := document.get(name), str)
    }
    return TokenClaims(
        scope=texts.get("scope", ""),
        client_id=texts.get("client_id", ""),
        patient_id=texts.get("patient"),
        subject=texts.get("sub"),
        expires_at=expires_at,
        fhir_user=texts.get("fhirUser"),
    )


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError):
        return None
