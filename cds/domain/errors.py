"""The one error of the product: a reason from a short list, and facts in fields."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why something could not be done; doors map each reason to a status once."""

    MISSING_CONTEXT = "missing-context"
    UPSTREAM_FAILED = "upstream-failed"
    UPSTREAM_REFUSED = "upstream-refused"
    DEADLINE = "deadline"
    EGRESS_REFUSED = "egress-refused"
    IMAGE_UNREADABLE = "image-unreadable"
    IMAGE_UNSUPPORTED = "image-unsupported"
    AGE_UNSUPPORTED = "age-unsupported"
    IDENTITY_MISMATCH = "identity-mismatch"
    NO_IMAGING = "no-imaging"
    NOT_FOUND = "not-found"
    MODEL_UNAVAILABLE = "model-unavailable"
    INDEX_UNAVAILABLE = "index-unavailable"
    STORAGE_UNAVAILABLE = "storage-unavailable"
    NOT_AUTHENTICATED = "not-authenticated"
    NOT_AUTHORIZED = "not-authorized"
    INVALID_REQUEST = "invalid-request"
    INVALID_CONFIGURATION = "invalid-configuration"


class CdsError(Exception):
    """A refusal with a machine-readable reason and a sentence for a person.

    The sentence never holds a name, a date of birth, a record number or a token: it may be logged
    and may be shown to anyone who can call the door in question.

    Parameters
    ----------
    reason
        What kind of refusal this is.
    sentence
        One sentence that says what happened and what to do.
    facts
        Machine-readable details free of PHI, for example ``status=503``.

    Examples
    --------
    >>> str(CdsError(Reason.NO_IMAGING, "No imaging study was found.", window_h=72))
    'no-imaging: No imaging study was found.'

    """

    def __init__(self, reason: Reason, sentence: str, **facts: str | int | float) -> None:
        super().__init__(f"{reason.value}: {sentence}")
        self.reason = reason
        self.sentence = sentence
        self.facts = facts
