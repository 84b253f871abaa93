"""Our own addresses as the outside sees them: does the public URL lead to this installation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from cds.adapters.backend_services import SigningKeys
from cds.adapters.egress import EgressClient
from cds.domain.check_line import CheckLine, failed, passed, unknown
from cds.domain.errors import CdsError
from cds.domain.time_limit import TimeLimit

if TYPE_CHECKING:
    from cds.domain.registration import EhrRegistration

OWN_DISCOVERY = "own discovery"
STEP_LIMIT_S = 5.0
_HINT = (
    "from this machine a proxy is often not reachable: ask the EHR team to open that address; "
    "else check that the server runs and PRECEDENT_PUBLIC_URL is right"
)


@dataclass(frozen=True, slots=True)
class OwnAddresses:
    """Where we are said to be, and what must be found there."""

    public_url: str
    keys: SigningKeys
    development: bool
    ca_file: Path | None


def own_lines(registration: EhrRegistration, own: OwnAddresses) -> Iterator[CheckLine]:
    """Fetch our discovery and our key set through the public URL.

    An address that cannot be reached from here is UNKNOWN; one that answers something else is FAIL.
    """
    base = f"{own.public_url.rstrip('/')}/t/{registration.ehr_id}"
    found = _fetched(registration, own, f"{base}/cds-services")
    if isinstance(found, CheckLine):
        yield found
        return
    status, document, took_ms = found
    if status != 200 or not isinstance(document.get("services"), list):
        yield failed(
            OWN_DISCOVERY,
            f"{base}/cds-services answered {status}, not our discovery",
            "make the proxy pass this path on unchanged, or correct PRECEDENT_PUBLIC_URL: the "
            "audience of every JWT is checked against it",
        )
        return
    yield passed(OWN_DISCOVERY, f"{base}/cds-services answered in {took_ms} ms")
    if registration.backend_client_id:
        yield _key_set(registration, own, f"{base}/jwks.json")


def _key_set(registration: EhrRegistration, own: OwnAddresses, url: str) -> CheckLine:
    name = "own key set"
    found = _fetched(registration, own, url)
    if isinstance(found, CheckLine):
        return replace(found, name=name)
    status, document, _ = found
    try:
        key = own.keys.signing_key(registration.ehr_id, registration.backend_algorithm)
    except CdsError as error:
        return failed(name, error.sentence, "")
    keys = document.get("keys")
    published = {one.get("kid") for one in keys if isinstance(one, dict)} if keys else set()
    if status != 200 or key.key_id not in published:
        return failed(
            name,
            f"{url} answered {status}, without the key that signs ({key.key_id})",
            "see that the server behind the proxy uses the same database as this command",
        )
    return passed(name, f"{url} holds the key that signs")


def _fetched(
    registration: EhrRegistration, own: OwnAddresses, url: str
) -> CheckLine | tuple[int, Mapping[str, Any], int]:
    """Fetch one of our own addresses, which is permitted like a registered origin."""
    here = replace(registration, origins=(*registration.origins, own.public_url))
    started_s = monotonic()
    try:
        http = EgressClient(here, development=own.development, ca_file=own.ca_file)
        session = http.session(
            deadline=TimeLimit(STEP_LIMIT_S), any_status=True, peer_name="Our own public URL"
        )
        response = session.get(url)
    except CdsError as error:
        return unknown(OWN_DISCOVERY, f"{url}: {error.sentence}", _HINT)
    try:
        document = response.json()
    except ValueError:
        document = None
    took_ms = round((monotonic() - started_s) * 1000)
    return response.status_code, document if isinstance(document, dict) else {}, took_ms
