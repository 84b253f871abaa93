"""Types of command line arguments, whose errors are sentences."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import date


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
