"""Read the study that an EHR points at, from appContext or fhirContext; both are untrusted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cds.domain.launch import StudyHint

APP_CONTEXT_LIMIT_CHARACTERS = 4000  # ours has about 150
_UID = re.compile(r"^(?:urn:oid:)?([0-2](?:\.(?:0|[1-9][0-9]*)){1,63})$")
_UID_LIMIT_CHARACTERS = 64  # DICOM PS3.5, 9.1
_FHIR_ID = re.compile(r"^[A-Za-z0-9\-.]{1,64}$")  # FHIR R4, datatype id
_ACCESSION = re.compile(r"^[\x20-\x7e]{1,64}$")


def bearer_of_hint(parameters: Mapping[str, Any]) -> str:
    """Return which member of a token response names a study: the one that `hint_from_token` reads.

    Examples
    --------
    >>> bearer_of_hint({"appContext": {"study": "1.2.3"}})
    'app-context'
    >>> bearer_of_hint({"fhirContext": [{"reference": "ImagingStudy/s4"}]})
    'fhir-context'
    >>> bearer_of_hint({"appContext": "<script>"})
    'none'

    """
    if _from_app_context(parameters.get("appContext")) is not None:
        return "app-context"
    has_study = _from_fhir_context(parameters.get("fhirContext")) is not None
    return "fhir-context" if has_study else "none"


def hint_from_token(parameters: Mapping[str, Any]) -> StudyHint | None:
    """Return the study that a token response names, or None.

    Parameters
    ----------
    parameters
        Members of the token response: ``appContext`` as our card wrote it (many EHRs drop it, some
        return it parsed), else ``fhirContext`` with exactly one ImagingStudy.

    Examples
    --------
    >>> hint_from_token({"appContext": '{"study": "1.2.840.1"}'}).study_instance_uid
    '1.2.840.1'
    >>> hint_from_token({"fhirContext": [{"reference": "ImagingStudy/s4"}]}).imaging_study_id
    's4'
    >>> hint_from_token({"appContext": "<script>"}) is None
    True

    """
    return _from_app_context(parameters.get("appContext")) or _from_fhir_context(
        parameters.get("fhirContext")
    )


def _from_app_context(value: object) -> StudyHint | None:
    if isinstance(value, str):
        if len(value) > APP_CONTEXT_LIMIT_CHARACTERS:
            return None
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, Mapping):
        return None
    hint = hint_from_text(value.get("study"))
    accession = value.get("accession")
    if not isinstance(accession, str) or not _ACCESSION.match(accession.strip()):
        return hint
    if hint is None:
        return StudyHint(accession_number=accession.strip())
    return replace(hint, accession_number=accession.strip())


def hint_from_text(value: object) -> StudyHint | None:
    """Return a hint from a Study Instance UID or an ImagingStudy reference or id, or None."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    uid = _UID.match(text)
    if uid is not None and len(uid[1]) <= _UID_LIMIT_CHARACTERS:
        return StudyHint(study_instance_uid=uid[1])
    logical = text.removeprefix("ImagingStudy/")
    return StudyHint(imaging_study_id=logical) if _FHIR_ID.match(logical) else None


def _from_fhir_context(value: object) -> StudyHint | None:
    """Read the 2.1+ form (objects); the early form of bare strings is understood as well."""
    if not isinstance(value, list):
        return None
    references = [item.get("reference") if isinstance(item, Mapping) else item for item in value]
    studies = {
        reference
        for reference in references
        if isinstance(reference, str) and reference.startswith("ImagingStudy/")
    }
    return hint_from_text(studies.pop()) if len(studies) == 1 else None
