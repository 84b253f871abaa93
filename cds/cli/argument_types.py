"""Types of command line arguments, whose errors are sentences."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import date

MAX_PORT = 65535


def at_least_one(text: str) -> int:
    """Read a whole number of at least 1.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is none.

    """
    if not text.strip().isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"has to be a whole number of at least 1, not {text!r}")
    return int(text)


def day(text: str) -> date:
    """Read a date as ISO 8601 writes it.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is none.

    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"has to be a date such as 2026-01-31, not {text!r}") from None


def listening_address(text: str) -> str:
    """Read HOST:PORT, or ``unix:PATH``, as gunicorn takes it.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is neither.

    """
    host, _, port = text.rpartition(":")
    is_address = bool(host) and port.isdecimal() and 1 <= int(port) <= MAX_PORT
    if not is_address and not text.startswith("unix:/"):
        raise ArgumentTypeError(f"has to be an address such as 127.0.0.1:8000, not {text!r}")
    return text
