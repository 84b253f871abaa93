"""What an EHR hands back as context is untrusted, and often missing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.domain.launch import StudyHint
from smart_app.launch.study_hints import hint_from_token

UID = "1.2.826.0.1.3680043.10.1.4"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"appContext": f'{{"study":"{UID}","report":"r"}}'}, StudyHint(UID)),
        ({"appContext": {"study": UID}}, StudyHint(UID)),  # some EHRs return it parsed
        ({"appContext": f'{{"study":"urn:oid:{UID}"}}'}, StudyHint(UID)),
        ({"appContext": f'{{"study":"{UID}","accession":"A 1"}}'}, StudyHint(UID, "A 1")),
        ({"appContext": '{"accession":"A1"}'}, StudyHint(accession_number="A1")),
        ({"appContext": '{"study":"ImagingStudy/s4"}'}, StudyHint(imaging_study_id="s4")),
        (
            {"fhirContext": [{"reference": "Task/1"}, {"reference": "ImagingStudy/s4"}]},
            StudyHint(imaging_study_id="s4"),
        ),
        ({"fhirContext": ["ImagingStudy/s4"]}, StudyHint(imaging_study_id="s4")),
    ],
    ids=["ours", "parsed", "urn", "both", "accession", "reference", "fhir-context", "early-form"],
)
def test_context_that_names_a_study_gives_the_hint(
    parameters: dict[str, Any], expected: StudyHint
) -> None:
    assert hint_from_token(parameters) == expected


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"appContext": None},
        {"appContext": ""},
        {"appContext": "[]"},
        {"appContext": '{"study":null}'},
        {"appContext": '{"study":["1.2"]}'},
        {"appContext": '{"study":"../../Patient/9"}'},
        {"appContext": '{"study":"' + "1." * 40 + '1"}'},
        {"appContext": "[" * 3000},
        {"appContext": '{"study":"1.2","x":"' + "y" * 4000 + '"}'},
        {"fhirContext": {"reference": "ImagingStudy/s4"}},
        {"fhirContext": [{"reference": "ImagingStudy/s4"}, {"reference": "ImagingStudy/s5"}]},
        {"fhirContext": [{"reference": "https://other.example.invalid/ImagingStudy/s4"}]},
        {"fhirContext": [{"reference": "ImagingStudy/s4/../s5"}]},
        {"fhirContext": [None, 7, {"canonical": "x"}]},
    ],
    ids=lambda parameters: str(parameters)[:40],
)
def test_context_that_names_no_one_study_gives_none(parameters: dict[str, Any]) -> None:
    assert hint_from_token(parameters) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(app_context=json_values | st.text(), fhir_context=json_values)
def test_context_of_any_shape_is_survived(app_context: object, fhir_context: object) -> None:
    found = hint_from_token({"appContext": app_context, "fhirContext": fhir_context})
    assert found is None or isinstance(found, StudyHint)
