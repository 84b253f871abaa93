"""An EHR registration, valid by default; one override per test."""

from __future__ import annotations

from typing import Any

from cds.domain.registration import EhrRegistration
from tests.builders.fhir import MRN_SYSTEM


def a_registration(**overrides: Any) -> EhrRegistration:
    values: dict[str, Any] = {
        "ehr_id": "a",
        "name": "Hospital A",
        "fhir_base_url": "https://ehr.example.invalid/fhir",
        "client_id": "precedent",
        "mrn_system": MRN_SYSTEM,
        "pacs_issuer": "HOSPITAL-A",
    }
    return EhrRegistration(**{**values, **overrides})
