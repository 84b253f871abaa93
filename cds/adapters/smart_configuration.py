"""An EHR's ``.well-known/smart-configuration``, read through the egress rules and kept a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from cds.adapters.egress import EgressClient
    from cds.domain.registration import EhrRegistration
    from cds.ports import Deadline

WELL_KNOWN = "/.well-known/smart-configuration"
KEPT_FOR_S = 300.0
_ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "introspection_endpoint",
    "revocation_endpoint",
    "jwks_uri",
)


@dataclass(frozen=True, slots=True)
class SmartConfiguration:
    """What the EHR's authorization server says about itself.

    Every endpoint lies on an origin that the registration names. Absent members are None or empty.

    References
    ----------
    SMART App Launch 2.2, Conformance; OpenID Connect Discovery 1.0.

    """

    token_endpoint: str
    authorization_endpoint: str | None = None
    introspection_endpoint: str | None = None
    revocation_endpoint: str | None = None
    jwks_uri: str | None = None
    issuer: str | None = None
    capabilities: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] = ()
    code_challenge_methods_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ()
    grant_types_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False


def read_smart_configuration(
    http: EgressClient, registration: EhrRegistration, *, deadline: Deadline
) -> SmartConfiguration:
    """Fetch and check the configuration of an EHR.

    Parameters
    ----------
    http
        Of this EHR.
    registration
        Its FHIR base URL, even one with a path, gets the well-known path appended.
    deadline
        Bounds the call.

    Raises
    ------
    CdsError
        UPSTREAM_FAILED if there is no usable configuration; EGRESS_REFUSED if an endpoint lies
        outside the registered origins; DEADLINE.

    """
    url = registration.fhir_base_url.rstrip("/") + WELL_KNOWN
    try:
        document = http.get(url, deadline=deadline, headers={"Accept": "application/json"}).json()
    except CdsError as error:
        if error.reason is not Reason.NOT_FOUND:
            raise
        raise CdsError(
            Reason.UPSTREAM_FAILED, "The EHR publishes no SMART configuration.", status=404
        ) from error
    if not isinstance(document, Mapping) or not _text(document, "token_endpoint"):
        raise CdsError(Reason.UPSTREAM_FAILED, "The EHR's SMART configuration cannot be used.")
    for name in _ENDPOINTS:
        endpoint = _text(document, name)
        if endpoint is not None and not http.allows(endpoint):
            raise CdsError(
                Reason.EGRESS_REFUSED,
                f"The EHR's {name} lies outside its registered origins; register the origin.",
            )
    return _configuration(document)


class SmartConfigurations:
    """The configurations of all EHRs, each kept for five minutes.

    Parameters
    ----------
    client_for
        Registration -> HTTP client of that EHR.
    clock
        Monotonic seconds; another one in tests.

    """

    def __init__(
        self,
        client_for: Callable[[EhrRegistration], EgressClient],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client_for = client_for
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[EhrRegistration, tuple[float, SmartConfiguration]] = {}

    def read(self, registration: EhrRegistration, *, deadline: Deadline) -> SmartConfiguration:
        """Return the configuration, from memory or from the EHR.

        Raises
        ------
        CdsError
            As `read_smart_configuration`.

        """
        with self._lock:
            kept = self._kept.get(registration)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        http = self._client_for(registration)
        found = read_smart_configuration(http, registration, deadline=deadline)
        with self._lock:
            self._kept[registration] = (self._clock() + KEPT_FOR_S, found)
        return found


def _configuration(document: Mapping[str, Any]) -> SmartConfiguration:
    return SmartConfiguration(
        token_endpoint=_text(document, "token_endpoint") or "",
        authorization_endpoint=_text(document, "authorization_endpoint"),
        introspection_endpoint=_text(document, "introspection_endpoint"),
        revocation_endpoint=_text(document, "revocation_endpoint"),
        jwks_uri=_text(document, "jwks_uri"),
        issuer=_text(document, "issuer"),
        capabilities=_texts(document, "capabilities"),
        scopes_supported=_texts(document, "scopes_supported"),
        code_challenge_methods_supported=_texts(document, "code_challenge_methods_supported"),
        token_endpoint_auth_methods_supported=_texts(
            document, "token_endpoint_auth_methods_supported"
        ),
        grant_types_supported=_texts(document, "grant_types_supported"),
        authorization_response_iss_parameter_supported=document.get(
            "authorization_response_iss_parameter_supported"
        )
        is True,
    )


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = document.get(name)
    return tuple(v for v in values if isinstance(v, str)) if isinstance(values, list) else ()
