"""Which of the SMART scopes that were asked for a server did not grant."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SCOPE = re.compile(
    r"(?P<level>patient|user|system)/(?P<type>\*|[A-Z][A-Za-z]*)"
    r"\.(?P<rights>read|write|\*|(?=[cruds])c?r?u?d?s?)(?:\?(?P<query>.+))?"
)
_V1_RIGHTS = {"read": "rs", "write": "cud", "*": "cruds"}


@dataclass(frozen=True, slots=True)
class _ResourceScope:
    level: str
    resource_type: str
    rights: frozenset[str]
    query: str | None

    def covers(self, asked: _ResourceScope, right: str) -> bool:
        """Tell whether this grant covers a right; a narrowed one covers only the same query."""
        return (
            self.level == asked.level
            and self.resource_type in {"*", asked.resource_type}
            and right in self.rights
            and self.query in {None, asked.query}
        )


def missing_scopes(asked: str, granted: str) -> tuple[str, ...]:
    """Return the asked scopes that a grant does not cover, in the order in which they were asked.

    A v1 spelling (``.read``) covers its v2 equal (``.rs``); ``*`` covers every type; a grant that
    was narrowed by a query does not cover the whole.

    References
    ----------
    SMART App Launch 2.2, Scopes for requesting FHIR resources.

    Examples
    --------
    >>> missing_scopes("system/Patient.rs system/Endpoint.rs", "system/Patient.read")
    ('system/Endpoint.rs',)
    >>> missing_scopes("system/Patient.rs system/Endpoint.r", "system/*.rs")
    ()
    >>> missing_scopes("system/Patient.rs", "system/Patient.r")
    ('system/Patient.rs',)

    """
    grants = [scope for text in granted.split() if (scope := _parsed(text)) is not None]
    verbatim = set(granted.split())
    return tuple(
        text for text in asked.split() if text not in verbatim and not _is_covered(text, grants)
    )


def _is_covered(text: str, grants: list[_ResourceScope]) -> bool:
    asked = _parsed(text)
    if asked is None:
        return False
    return all(any(grant.covers(asked, right) for grant in grants) for right in asked.rights)


def _parsed(text: str) -> _ResourceScope | None:
    match = _SCOPE.fullmatch(text)
    if match is None:
        return None
    rights = _V1_RIGHTS.get(match["rights"], match["rights"])
    return _ResourceScope(match["level"], match["type"], frozenset(rights), match["query"])
