"""Which scopes a launch asks for, and whether what was granted is enough."""

from __future__ import annotations

import re
from collections.abc import Collection

from cds.domain.errors import CdsError, Reason

IDENTITY_SCOPES = ("launch", "openid", "fhirUser")

# What the reader reads (DESIGN 3.2); "r" by id, "rs" by id and by search. Nothing is ever written.
READ_SCOPES = (
    ("Patient", "r"),
    ("Condition", "rs"),
    ("Observation", "rs"),
    ("ImagingStudy", "rs"),
    ("Endpoint", "rs"),
    ("DiagnosticReport", "rs"),
    ("ServiceRequest", "rs"),
)
REQUIRED_SCOPES = (("Patient", "r"), ("ImagingStudy", "s"))
_RESOURCE_SCOPE = re.compile(r"^(?:patient|user)/([A-Z][A-Za-z]*|\*)\.([a-z]+|\*)(?:\?.*)?$")
_V1_LETTERS = {"read": "rs", "write": "cud", "*": "cruds"}


def requested_scopes(capabilities: Collection[str]) -> str:
    """Return the scope parameter, in v2 spelling where the server announces it, else in v1.

    References
    ----------
    SMART App Launch 2.2, scopes and launch context.

    Examples
    --------
    >>> requested_scopes(["permission-v2"]).split()[3:5]
    ['patient/Patient.r', 'patient/Condition.rs']
    >>> requested_scopes(["permission-v1"]).split()[3:5]
    ['patient/Patient.read', 'patient/Condition.read']

    """
    is_v2 = "permission-v2" in capabilities
    reads = (f"patient/{kind}.{letters if is_v2 else 'read'}" for kind, letters in READ_SCOPES)
    return " ".join((*IDENTITY_SCOPES, *reads))


def is_granted(scope: str, resource_type: str, letter: str) -> bool:
    """Tell whether a granted scope text lets an app interact with a type.

    A scope that is narrowed by a query counts: the server then answers with less.

    Examples
    --------
    >>> is_granted("patient/*.read", "ImagingStudy", "s")
    True
    >>> is_granted("patient/ImagingStudy.r", "ImagingStudy", "s")
    False

    """
    for text in scope.split():
        match = _RESOURCE_SCOPE.match(text)
        if match is None or match[1] not in {"*", resource_type}:
            continue
        if letter in _V1_LETTERS.get(match[2], match[2]):
            return True
    return False


def check_granted(scope: str) -> None:
    """Refuse a grant with which no answer could be honest.

    Raises
    ------
    CdsError
        NOT_AUTHORIZED naming what was not granted.

    """
    lacking = [kind for kind, letter in REQUIRED_SCOPES if not is_granted(scope, kind, letter)]
    if lacking:
        raise CdsError(
            Reason.NOT_AUTHORIZED,
            f"The EHR did not let this app read {' and '.join(lacking)}. "
            "Ask your EHR administrator to grant it to Precedent for your role.",
        )
