"""Every shared EHR bundle becomes a context; nothing in it raises."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cds.fhir.clinical_context import RecordResources, clinical_context
from cds.fhir.patient import demographics_from_patient
from cds.fhir.shapes import subject_id

FOLDER = (
    Path(os.environ.get("PRECEDENT_SHARED", "../shared")) / "data/fhir_synthea_r4/bundles"
)  # tests find the data here
NOW = datetime(2026, 11, 20, tzinfo=UTC)


def of_type(bundle: dict[str, Any], resource_type: str) -> tuple[dict[str, Any], ...]:
    resources = (entry["resource"] for entry in bundle["entry"])
    return tuple(r for r in resources if r["resourceType"] == resource_type)


@pytest.fixture(scope="module")
def bundles() -> list[dict[str, Any]]:
    if not FOLDER.is_dir():
        pytest.skip("The shared EHR bundles are not here (PRECEDENT_SHARED).")
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]


def test_every_shared_bundle_becomes_a_context(bundles: list[dict[str, Any]]) -> None:
    assert bundles
    n_studies = 0
    for bundle in bundles:
        (patient,) = of_type(bundle, "Patient")
        demographics = demographics_from_patient(patient)
        assert demographics is not None
        assert demographics.birth_on is not None
        observations = of_type(bundle, "Observation")
        assert {subject_id(o) for o in observations} == {demographics.patient_id}
        context = clinical_context(
            demographics,
            RecordResources(
                conditions=of_type(bundle, "Condition"),
                observations=observations,
                imaging_studies=of_type(bundle, "ImagingStudy"),
                diagnostic_reports=of_type(bundle, "DiagnosticReport"),
            ),
            read_at=NOW,
            as_of=NOW,
        )
        assert context.missing == ()
        assert context.measurements
        assert len(context.history) == len(of_type(bundle, "Condition"))
        assert len(context.studies) == len(of_type(bundle, "ImagingStudy"))
        n_studies += sum(s.study_instance_uid is not None for s in context.studies)
        assert all(s.dicomweb_url is None for s in context.studies)
    assert n_studies > 0
