"""A CDS Hooks request: JSON of the wire -> one value, strict on what is required."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cds.domain.errors import CdsError, Reason
from cds.domain.secrecy import SecretText

_FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # FHIR R4, datatypes, id
_REFERENCE = re.compile(r"([A-Z][A-Za-z]{1,40})/([A-Za-z0-9\-.]{1,64})")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True, repr=False)
class FhirAuthorization:
    """The right to read the record for the length of this call; the token is never kept.

    Attributes
    ----------
    scope
        SMART scopes, v1 or v2, as granted.
    subject
        Our client id at the EHR's authorization server.
    patient_id
        Patient of a patient-scoped token, None where not given.

    """

    access_token: SecretText
    expires_in_s: int
    scope: str
    subject: str
    patient_id: str | None = None

    def __repr__(self) -> str:
        return "FhirAuthorization(<redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class HookRequest:
    """One invocation of a CDS service.

    Attributes
    ----------
    hook_instance
        UUID in lower case.
    user_ref
        Reference ``Type/id``.
    prefetch
        Key -> resource, Bundle, OperationOutcome or None ("looked, no data"); an absent key means
        that the client did not look. None means no prefetch at all.

    References
    ----------
    CDS Hooks 2.0.1, Calling a CDS Service; Providing FHIR Resources to a CDS Service.

    """

    hook: str
    hook_instance: str
    user_ref: str
    patient_id: str
    encounter_id: str | None = None
    fhir_server: str | None = None
    fhir_authorization: FhirAuthorization | None = None
    prefetch: Mapping[str, Any] | None = None
    extension: Mapping[str, Any] | None = None

    @property
    def user_type(self) -> str:
        """Return the resource type of the user, for example ``Practitioner``."""
        return self.user_ref.partition("/")[0]

    @classmethod
    def from_json(cls, body: object, *, hook: str) -> HookRequest:
        """Read a parsed JSON body; members that the specification does not name are ignored.

        Parameters
        ----------
        body
            What the JSON parser returned.
        hook
            The hook that the called service advertises.

        Raises
        ------
        CdsError
            INVALID_REQUEST naming the member that is missing or malformed; values are not repeated.

        """
        message = _object(body, "The body")
        if _text(message, "hook") != hook:
            raise CdsError(Reason.INVALID_REQUEST, f"This service answers the hook {hook} only.")
        context = _object(message.get("context"), "context")
        patient_id = _fhir_id(context, "patientId")
        authorization = _authorization(message, patient_id)
        return cls(
            hook=hook,
            hook_instance=_hook_instance(message),
            user_ref=_user_ref(context),
            patient_id=patient_id,
            encounter_id=_fhir_id(context, "encounterId") if "encounterId" in context else None,
            fhir_server=_text(message, "fhirServer") if "fhirServer" in message else None,
            fhir_authorization=authorization,
            prefetch=_prefetch(message),
            extension=_optional_object(message, "extension"),
        )

    def __repr__(self) -> str:
        return f"HookRequest({self.hook}, {self.hook_instance}, <redacted>)"


def _object(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise CdsError(Reason.INVALID_REQUEST, f"{name} must be a JSON object.")
    return value


def _optional_object(message: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = message.get(name)
    return None if value is None else _object(value, name)


def _text(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not value.strip():
        raise CdsError(
            Reason.INVALID_REQUEST, f"{name} is required and must be a string that is not empty."
        )
    return value


def _fhir_id(context: Mapping[str, Any], name: str) -> str:
    value = _text(context, name)
    if _FHIR_ID.fullmatch(value) is None:
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"context.{name} must be a bare FHIR id, without a resource type.",
        )
    return value


def _user_ref(context: Mapping[str, Any]) -> str:
    value = _text(context, "userId")
    if _REFERENCE.fullmatch(value) is None:
        raise CdsError(
            Reason.INVALID_REQUEST, 'context.userId must be a reference such as "Practitioner/123".'
        )
    return value


def _hook_instance(message: Mapping[str, Any]) -> str:
    value = _text(message, "hookInstance")
    if _UUID.fullmatch(value) is None:
        raise CdsError(Reason.INVALID_REQUEST, "hookInstance must be a UUID.")
    return str(UUID(value))


def _prefetch(message: Mapping[str, Any]) -> Mapping[str, Any] | None:
    prefetch = _optional_object(message, "prefetch")
    if prefetch is None:
        return None
    for value in prefetch.values():
        if value is not None and not isinstance(value, dict):
            raise CdsError(
                Reason.INVALID_REQUEST, "Each prefetch value must be a FHIR resource or null."
            )
    return prefetch


def _authorization(message: Mapping[str, Any], patient_id: str) -> FhirAuthorization | None:
    given = _optional_object(message, "fhirAuthorization")
    if given is None:
        return None
    if "fhirServer" not in message:
        raise CdsError(
            Reason.INVALID_REQUEST, "fhirServer is required where fhirAuthorization is given."
        )
    if _text(given, "token_type").lower() != "bearer":
        raise CdsError(Reason.INVALID_REQUEST, "fhirAuthorization.token_type must be Bearer.")
    expires_in = given.get("expires_in")
    if isinstance(expires_in, bool) or not isinstance(expires_in, int):
        raise CdsError(
            Reason.INVALID_REQUEST,
            "fhirAuthorization.expires_in must be a whole number of seconds.",
        )
    patient = given.get("patient")
    if patient is not None and patient != patient_id:
        raise CdsError(
            Reason.INVALID_REQUEST,
            "fhirAuthorization.patient and context.patientId name different patients.",
        )
    return FhirAuthorization(
        access_token=SecretText(_text(given, "access_token")),
        expires_in_s=expires_in,
        scope=_text(given, "scope"),
        subject=_text(given, "subject"),
        patient_id=patient,
    )
