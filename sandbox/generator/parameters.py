"""The generator's frozen parameters: one TOML file per subject, read once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "parameters"


@cache
def parameters(subject: str) -> Mapping[str, Any]:
    """Read ``sandbox/parameters/<subject>.toml``.

    Parameters
    ----------
    subject
        ``thorax``, ``conditions``, ``labs`` or ``hospital``.

    Returns
    -------
    Mapping
        The file's tables; read-only at the top, and not to be changed below.

    """
    with (FOLDER / f"{subject}.toml").open("rb") as file:
        return MappingProxyType(tomllib.load(file))


def thorax(table: str) -> Mapping[str, Any]:
    """Return one table of ``thorax.toml``."""
    section: Mapping[str, Any] = parameters("thorax")[table]
    return section
