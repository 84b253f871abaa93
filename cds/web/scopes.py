"""What SMART scopes grant: v1 (`.read`) and v2 (`.rs`), for one resource type and interaction."""

from __future__ import annotations

import re
from enum import StrEnum

_SCOPE = re.compile(
    r"(?P<level>patient|user|system)/(?P<type>\*|[A-Z][A-Za-z]*)"
    r"\.(?P<rights>read|write|\*|(?=[cruds])c?r?u?d?s?)"
)
_V1_RIGHTS = {"read": "rs", "write": "cud", "*": "cruds"}


class Level(StrEnum):
    """Whose data a scope reaches."""

    PATIENT = "patient"
    USER = "user"
    SYSTEM = "system"


def levels_granting(scopes: str, resource_type: str, right: str) -> frozenset[Level]:
    """Return the levels at which `scopes` grants a right on a resource type.

    Parameters
    ----------
    scopes
        Space-separated, as granted. A scope with a query (``?category=…``) narrows what we cannot
        narrow by, and grants nothing; so does one whose letters are out of order.
    resource_type
        For example ``DiagnosticReport``.
    right
        ``r`` for read, ``s`` for search.

    References
    ----------
    SMART App Launch 2.2, Scopes for requesting FHIR resources.

    Examples
    --------
    >>> [level.value for level in levels_granting("patient/*.read openid", "Device", "r")]
    ['patient']
    >>> levels_granting("patient/Device.rs?type=x patient/Device.sr", "Device", "r")
    frozenset()

    """
    granted = set()
    for scope in scopes.split():
        match = _SCOPE.fullmatch(scope)
        if match is None or match["type"] not in {"*", resource_type}:
            continue
        if right in _V1_RIGHTS.get(match["rights"], match["rights"]):
            granted.add(Level(match["level"]))
    return frozenset(granted)
