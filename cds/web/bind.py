"""Development mode is for this machine only: it refuses to listen anywhere else."""

from __future__ import annotations

from ipaddress import ip_address

from cds.domain.errors import CdsError, Reason
from cds.settings import Settings


def check_bind(settings: Settings, address: str | tuple[str, int]) -> None:
    """Refuse a non-loopback address in development mode.

    Parameters
    ----------
    settings
        Development mode allows http and loopback peers.
    address
        ``host:port``, ``[::1]:port``, ``unix:path`` or the pair that a socket has. A name other
        than ``localhost`` is not resolved but refused.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION.

    Examples
    --------
    >>> check_bind(Settings(development=True), "127.0.0.1:8000")

    """
    if not settings.development:
        return
    host = _host(address)
    if host is not None and not _is_loopback(host):
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            "PRECEDENT_DEVELOPMENT is on, so the server listens on a loopback address only; "
            "bind to 127.0.0.1 or switch it off.",
        )


def _host(address: str | tuple[str, int]) -> str | None:
    """Return the host of an address, or None for a socket file."""
    if isinstance(address, tuple):
        return address[0]
    if address.startswith(("unix:", "/")):
        return None
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.rpartition(":")[0] if address.count(":") == 1 else address


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
