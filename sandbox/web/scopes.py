"""SMART scopes: what a token may do with which type, in v1 and v2 spelling."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sandbox.web.search_parameters import PARAMETERS

# Source: SMART App Launch 2.2, scopes and launch context.
CONTEXT_SCOPES = frozenset(
    {
        "launch",
        "launch/patient",
        "launch/encounter",
        "launch/imagingstudy",
        "openid",
        "fhirUser",
        "profile",
        "online_access",
        "offline_access",
    }
)
_RESOURCE_SCOPE = re.compile(r"^(patient|user|system)/([A-Z][A-Za-z]*|\*)\.([a-z]+|\*)$")
_V1_LETTERS = {"read": "rs", "write": "cud", "*": "cruds"}
_V2_LETTERS = re.compile(r"^c?r?u?d?s?$")
_CREATABLE = frozenset({"DiagnosticReport"})


@dataclass(frozen=True, slots=True)
class ResourceScope:
    """One scope over FHIR resources; `letters` is an ordered subset of ``cruds``."""

    context: str
    resource_type: str
    letters: str

    def covers(self, resource_type: str, letter: str) -> bool:
        """Tell whether an interaction with a type is within this scope."""
        return self.resource_type in {"*", resource_type} and letter in self.letters


def resource_scope(text: str) -> ResourceScope | None:
    """Return the resource scope that a text spells, or None.

    Examples
    --------
    >>> resource_scope("patient/Observation.read")
    ResourceScope(context='patient', resource_type='Observation', letters='rs')
    >>> resource_scope("patient/Observation.sr") is None
    True

    """
    parts = _RESOURCE_SCOPE.match(text)
    if parts is None:
        return None
    context, resource_type, access = parts.groups()
    letters = _V1_LETTERS.get(access, access)
    return ResourceScope(context, resource_type, letters) if _V2_LETTERS.match(letters) else None


def resource_scopes(scope: str) -> tuple[ResourceScope, ...]:
    """Return the resource scopes of a space-separated scope text."""
    found = (resource_scope(text) for text in scope.split())
    return tuple(one for one in found if one is not None)


def grantable(scope: str) -> str:
    """Return the part of a requested scope that this server grants to a user's app.

    Reading of every served type is granted, creating only of DiagnosticReport; system scopes and
    whatever is not understood are left out, so the app must look at what it got.
    """
    return " ".join(dict.fromkeys(text for text in scope.split() if _is_grantable(text)))


def _is_grantable(text: str) -> bool:
    if text in CONTEXT_SCOPES:
        return True
    wanted = resource_scope(text)
    if wanted is None or wanted.context == "system":
        return False
    if wanted.resource_type not in {"*", *PARAMETERS}:
        return False
    return set(wanted.letters) <= set("rs") or (
        wanted.resource_type in _CREATABLE and set(wanted.letters) <= set("crs")
    )


def grantable_to_systems(scope: str) -> str:
    """Return the part of a requested scope that this server grants to a system without a user.

    Reading of every served type, nothing else.
    """
    wanted = ((text, resource_scope(text)) for text in scope.split())
    return " ".join(
        dict.fromkeys(
            text
            for text, one in wanted
            if one is not None
            and one.context == "system"
            and one.resource_type in {"*", *PARAMETERS}
            and set(one.letters) <= set("rs")
        )
    )
