"""DNS, TCP and TLS of one origin, each with what to open or change where it fails."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from cds.adapters.egress_policy import EgressPolicy, Origin
from cds.adapters.egress_transport import Resolver, addresses_of, resolved_in_time
from cds.domain.check_line import CheckLine, failed, passed, unknown, warned
from cds.domain.errors import CdsError

CONNECT_TIMEOUT_S = 5.0
EXPIRES_SOON = timedelta(days=30)
_EXPIRED, _NOT_YET, _SELF_SIGNED, _SELF_SIGNED_CHAIN = 10, 9, 18, 19
_UNKNOWN_ISSUER, _UNKNOWN_LEAF, _OTHER_HOST = 20, 21, 62


@dataclass(frozen=True, slots=True)
class Reach:
    """How an origin is reached.

    Attributes
    ----------
    policy
        Says which addresses are permitted.
    now
        Aware UTC; certificates are judged by it.
    ca_file
        Certificates to trust instead of the public ones.
    resolve
        Host and port -> addresses.

    """

    policy: EgressPolicy
    now: datetime
    ca_file: Path | None = None
    resolve: Resolver = addresses_of

    def lines(self, label: str, origin: Origin) -> tuple[CheckLine, ...]:
        """Return the lines of DNS, TCP and TLS; what a failure makes impossible is UNKNOWN.

        Nothing but the TLS handshake is sent; each step takes at most a few seconds.
        """
        steps: Sequence[tuple[str, Callable[[str, Origin, str], tuple[CheckLine, str]]]] = (
            ("dns", self._dns),
            ("tcp", self._tcp),
            ("tls", self._tls),
        )
        lines: list[CheckLine] = []
        address = ""
        for step, probe in steps:
            name = f"{label} {step}"
            if lines and not address:
                lines.append(unknown(name, "not tried: the step before failed"))
                continue
            line, address = probe(name, origin, address)
            lines.append(line)
        return tuple(lines)

    def _dns(self, name: str, origin: Origin, _address: str) -> tuple[CheckLine, str]:
        host = origin.host
        try:
            addresses = _literal(host) or resolved_in_time(self.resolve, host, origin.port)
        except CdsError:
            addresses = ()
        if not addresses:
            return failed(
                name,
                f"{host} does not resolve on this machine",
                "check the spelling in the registration, and ask the network team for a DNS "
                "record that this machine's resolver answers",
            ), ""
        try:
            address = self.policy.checked_address(addresses)
        except CdsError:
            return failed(
                name,
                f"{host} is {', '.join(addresses)}, outside the permitted networks",
                "if that is right, permit it: precedent ehr add ID --replace "
                f"--permitted-network {addresses[0]} (beside the others: the list is replaced)",
            ), ""
        return passed(name, f"{host} is {address}"), address

    def _tcp(self, name: str, origin: Origin, address: str) -> tuple[CheckLine, str]:
        place = f"{address} port {origin.port}"
        try:
            socket.create_connection((address, origin.port), CONNECT_TIMEOUT_S).close()
        except ConnectionRefusedError:
            return failed(
                name,
                f"{place} refused the connection",
                "nothing listens there, or a firewall rejects: check the port in the "
                "registration and that the server runs",
            ), ""
        except TimeoutError:
            return failed(
                name,
                f"{place} did not answer within {CONNECT_TIMEOUT_S:g} s",
                f"usually a firewall that drops: have outgoing TCP from this machine to {place} "
                "opened",
            ), ""
        except OSError as error:
            return failed(
                name,
                f"{place} cannot be reached ({error.strerror or type(error).__name__})",
                "check this machine's routes to that network",
            ), ""
        return passed(name, f"{place} accepts connections"), address

    def _tls(self, name: str, origin: Origin, address: str) -> tuple[CheckLine, str]:
        if origin.scheme == "http":
            return warned(
                name,
                "the address is http: everything travels in the clear",
                "fit for a sandbox on this machine only; register the https address",
            ), address
        context = ssl.create_default_context(
            cafile=str(self.ca_file) if self.ca_file else DEFAULT_CA_BUNDLE_PATH
        )
        try:
            with (
                socket.create_connection((address, origin.port), CONNECT_TIMEOUT_S) as plain,
                context.wrap_socket(plain, server_hostname=origin.host) as secured,
            ):
                certificate = secured.getpeercert() or {}
                version = secured.version() or "TLS"
        except ssl.SSLCertVerificationError as error:
            return self._untrusted(name, origin, address, error), ""
        except (ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            return failed(
                name,
                f"no TLS handshake with {origin.host} ({reason})",
                "check that this port speaks TLS 1.2 or newer, and that no proxy breaks it",
            ), ""
        ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
        issuer = _issuer_of(certificate)
        evidence = f"{version}, certificate until {ends:%Y-%m-%d}, issued by {issuer}"
        if ends - self.now < EXPIRES_SOON:
            days = (ends - self.now).days
            return warned(
                name, evidence, f"it ends in {days} days: ask its owner to renew it"
            ), address
        return passed(name, evidence), address

    def _untrusted(
        self, name: str, origin: Origin, address: str, error: ssl.SSLCertVerificationError
    ) -> CheckLine:
        shown = _certificate_shown(origin, address)
        if error.verify_code == _EXPIRED:
            ended = "" if shown is None else f" on {shown.not_valid_after_utc:%Y-%m-%d}"
            return failed(
                name,
                f"the certificate of {origin.host} expired{ended}",
                "ask its owner to renew it; if that date is wrong, check this machine's clock",
            )
        if error.verify_code == _NOT_YET:
            return failed(
                name,
                f"the certificate of {origin.host} is not valid yet",
                "check this machine's clock (NTP)",
            )
        issuer = "unknown" if shown is None else shown.issuer.rfc4514_string()
        if error.verify_code == _OTHER_HOST:
            return failed(
                name,
                f"the certificate is for another name than {origin.host} (issued by {issuer})",
                "register the name that the certificate has, or have it issued for this one",
            )
        return failed(
            name,
            f"the issuer of the certificate of {origin.host} is not trusted here: {issuer}",
            "put the hospital's root certificate (PEM) into a file and name it with "
            "PRECEDENT_CA_FILE; if the issuer is a proxy, have this host excepted from inspection",
        )


def _literal(host: str) -> tuple[str, ...]:
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        return ()


def _issuer_of(certificate: Mapping[str, object]) -> str:
    issuer = certificate.get("issuer", ())
    named = {
        str(key): str(value)
        for part in (issuer if isinstance(issuer, tuple) else ())
        for key, value in part
    }
    return named.get("commonName") or named.get("organizationName") or "unknown"


def _certificate_shown(origin: Origin, address: str) -> x509.Certificate | None:
    """Return the certificate that was not trusted, to name its issuer; nothing is sent over it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, origin.port), CONNECT_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=origin.host) as secured,
        ):
            encoded = secured.getpeercert(binary_form=True)
        return None if encoded is None else x509.load_der_x509_certificate(encoded)
    except (OSError, ValueError):
        return None
