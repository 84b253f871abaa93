"""Software, clock and the address under which the installation is known."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cds.domain.check_line import CheckLine, failed, passed, unknown, warned
from cds.engine.encoder_parts import SOFTWARE
from cds.settings import Settings

PYTHONS = ((3, 11), (3, 13))
FUTURE = timedelta(minutes=5)
SYNCHRONISED = Path("/run/systemd/timesync/synchronized")


def software_lines() -> Iterator[CheckLine]:
    """Say which version runs, on which Python."""
    name = "software"
    evidence = f"{SOFTWARE} {version(SOFTWARE)}, Python {platform.python_version()}"
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        yield passed(name, evidence)
    else:
        yield warned(name, evidence, "tested are Python 3.11 to 3.13")


def clock_lines(settings: Settings, now: datetime) -> Iterator[CheckLine]:
    """Check that the clock is plausible: tokens and hook calls are judged by it."""
    name = "clock"
    database = settings.state_dir / "precedent.db"
    if database.is_file():
        written_at = datetime.fromtimestamp(database.stat().st_mtime, UTC)
        if written_at - now > FUTURE:
            yield failed(
                name,
                f"it is {now:%Y-%m-%d %H:%M} UTC, but the database was written later than that",
                "set the clock right by NTP before anything is signed or recorded",
            )
            return
    if SYNCHRONISED.exists():
        yield passed(name, f"{now:%Y-%m-%d %H:%M} UTC, synchronised by systemd-timesyncd")
        return
    yield unknown(
        name,
        f"{now:%Y-%m-%d %H:%M} UTC; what synchronises it cannot be seen",
        "see that NTP runs; precedent ehr check compares it with each EHR",
    )


def public_url_lines(settings: Settings) -> Iterator[CheckLine]:
    """Check that the public URL is one that an EHR can use."""
    name = "public url"
    url = urlsplit(settings.public_url)
    host = url.hostname or ""
    action = "set PRECEDENT_PUBLIC_URL to the base URL that the EHR sees: https, without a query"
    if url.scheme not in {"http", "https"} or not host or url.query or url.fragment or "@" in host:
        yield failed(name, f"{settings.public_url!r} is no base URL", action)
        return
    if settings.development:
        yield warned(
            name,
            f"{settings.public_url}; the development mode is on and listens on loopback only",
            "fit for a sandbox on this machine: unset PRECEDENT_DEVELOPMENT for anything else",
        )
    elif url.scheme != "https":
        yield failed(name, f"{settings.public_url} has no TLS", action)
    elif _is_loopback(host):
        yield failed(name, f"{settings.public_url} is this machine's own loopback", action)
    else:
        yield passed(name, settings.public_url)


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
