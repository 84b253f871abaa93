"""Which version of the product runs."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def software_version() -> str:
    """Return the installed version; ``0+unknown`` where the product runs uninstalled."""
    try:
        return version("precedent-cds")
    except PackageNotFoundError:
        return "0+unknown"
