"""Which origins and addresses may be contacted for one EHR."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cds.domain.registration import EhrRegistration

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN_URL = re.compile(r"[\x21-\x5b\x5d-\x7e]+")  # printable ASCII without space and backslash
# Never, whatever a registration says: this network, link-local (cloud metadata among it),
# multicast, and the metadata services that live elsewhere (AWS over IPv6, Alibaba, Azure's wire
# server).
NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "::/128",
        "fe80::/10",
        "ff00::/8",
        "fd00:ec2::254/128",
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Scheme, host and port of a URL."""

    scheme: str
    host: str
    port: int

    @property
    def host_header(self) -> str:
        """Return the value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def origin_of(url: str) -> Origin:
    """Return the origin of an absolute http or https URL.

    Raises
    ------
    CdsError
        EGRESS_REFUSED if it is no such URL, or holds user information or unusual characters.

    Examples
    --------
    >>> origin_of("https://ehr.example.invalid/fhir?x=1")
    Origin(scheme='https', host='ehr.example.invalid', port=443)

    """
    refusal = CdsError(Reason.EGRESS_REFUSED, "An address of the EHR is not a usable http URL.")
    if not _PLAIN_URL.fullmatch(url):
        raise refusal
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refusal from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        raise refusal
    return Origin(parts.scheme, parts.hostname.lower(), port or DEFAULT_PORTS[parts.scheme])


class EgressPolicy:
    """The origins and networks of one registration.

    Parameters
    ----------
    registration
        Names every origin: FHIR, PACS, introspection, key sets, further ones.
    development
        True allows http.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if an origin or network of the registration cannot be read.

    """

    def __init__(self, registration: EhrRegistration, *, development: bool) -> None:
        self._development = development
        urls = (
            registration.fhir_base_url,
            registration.default_pacs_url,
            registration.introspection_url,
            *registration.origins,
            *(client.jku for client in registration.cds_clients),
        )
        try:
            self._origins = frozenset(origin_of(url) for url in urls if url)
            self._permitted = tuple(
                ipaddress.ip_network(text, strict=False) for text in registration.permitted_networks
            )
        except (CdsError, ValueError) as error:
            raise CdsError(
                Reason.INVALID_CONFIGURATION,
                f"EHR {registration.ehr_id}: an origin or permitted network cannot be read.",
            ) from error

    def checked_origin(self, url: str) -> Origin:
        """Return the origin of a URL that may be contacted; nothing is looked up for that.

        Raises
        ------
        CdsError
            EGRESS_REFUSED if the origin is not registered, or is http outside development.

        """
        origin = origin_of(url)
        if origin not in self._origins:
            raise CdsError(
                Reason.EGRESS_REFUSED,
                "An address outside the EHR's registered origins was refused.",
            )
        if origin.scheme != "https" and not self._development:
            raise CdsError(
                Reason.EGRESS_REFUSED, "An address without TLS was refused; https is required."
            )
        return origin

    def checked_address(self, addresses: Iterable[str]) -> str:
        """Return the address to connect to, if all that a name resolves to are permitted.

        Raises
        ------
        CdsError
            EGRESS_REFUSED if one of them is not permitted; UPSTREAM_FAILED if there is none.

        """
        parsed = [ipaddress.ip_address(text.split("%")[0]) for text in addresses]
        if not parsed:
            raise CdsError(Reason.UPSTREAM_FAILED, "The EHR's host name has no address.")
        if not all(self._is_permitted(address) for address in parsed):
            raise CdsError(
                Reason.EGRESS_REFUSED,
                "A registered host leads to an address outside the permitted networks.",
            )
        return str(parsed[0])

    def _is_permitted(self, address: Address) -> bool:
        for candidate in (address, *_embedded(address)):
            if any(candidate in network for network in NEVER):
                return False
            is_named = any(candidate in network for network in self._permitted)
            if not candidate.is_global and not is_named and candidate is not address:
                return False
        return address.is_global or any(
            candidate in network
            for candidate in (address, *_embedded(address))
            for network in self._permitted
        )


def _embedded(address: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """Return the IPv4 addresses that an IPv6 address stands for (mapped, NAT64, 6to4, Teredo)."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    found = [address.ipv4_mapped, address.sixtofour]
    if address.teredo is not None:
        found.append(address.teredo[1])
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(inner for inner in found if inner is not None)
