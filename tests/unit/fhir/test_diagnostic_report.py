from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from cds.domain import wording
from cds.domain.report import AnswerState, CaseReport, Priority
from cds.fhir.diagnostic_report import diagnostic_report_bundle
from cds.fhir.validation import validated
from tests.builders.registration import a_registration
from tests.builders.report import REPORT_ID, a_neighbor, a_report, a_statement

REGISTRATION = a_registration()


def resources(report: CaseReport) -> dict[str, list[dict[str, Any]]]:
    by_type: dict[str, list[dict[str, Any]]] = {}
    bundle = diagnostic_report_bundle(report, REGISTRATION, base_url="https://us/fhir")
    for entry in bundle["entry"]:
        by_type.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    return by_type


def main_of(report: CaseReport) -> dict[str, Any]:
    (main,) = resources(report)["DiagnosticReport"]
    return main


def component(observation: dict[str, Any], code: str) -> dict[str, Any]:
    return next(c for c in observation["component"] if c["code"]["coding"][0]["code"] == code)


def test_report_is_preliminary_labelled_and_titled_as_no_radiology_report() -> None:
    main = main_of(a_report())
    assert main["status"] == "preliminary"
    assert main["code"]["text"] == wording.REPORT_TITLE
    assert main["code"]["coding"][0]["code"] == "similar-case-comparison-report"
    assert main["subject"] == {"reference": f"{REGISTRATION.fhir_base_url}/Patient/p100"}
    assert main["imagingStudy"] == [{"reference": f"{REGISTRATION.fhir_base_url}/ImagingStudy/is1"}]
    assert main["effectiveDateTime"] == "2026-01-05T04:41:00.000Z"
    assert main["identifier"][0]["value"] == f"urn:uuid:{REPORT_ID}"
    for forbidden in ("conclusionCode", "performer", "resultsInterpreter", "presentedForm"):
        assert forbidden not in main


def test_every_resource_carries_the_ai_label_and_an_id_of_the_report() -> None:
    for same_type in resources(a_report()).values():
        for resource in same_type:
            assert resource["meta"]["security"][0]["code"] == "AIAST"
            assert re.fullmatch(rf"{REPORT_ID}(-[a-z0-9-]+)?", resource["id"])
            assert len(resource["id"]) <= 64


def test_observations_name_the_device_and_the_report_names_the_observations() -> None:
    found = resources(a_report())
    device = found["Device"][0]
    results = [r["reference"] for r in main_of(a_report())["result"]]
    assert results == [f"Observation/{o['id']}" for o in found["Observation"]]
    for observation in found["Observation"]:
        assert observation["device"]["reference"] == f"Device/{device['id']}"


def test_finding_is_a_component_with_counts_interval_and_base_rate() -> None:
    observation = resources(a_report())["Observation"][1]
    assert observation["code"]["coding"][0]["code"] == "finding-among-similar-cases"
    finding = component(observation, "finding")["valueCodeableConcept"]
    assert finding["coding"][0]["code"] == "84114007"
    assert component(observation, "n-with")["valueInteger"] == 12
    assert component(observation, "n")["valueInteger"] == 31
    interval = component(observation, "interval")["valueRange"]
    assert (interval["low"]["value"], interval["high"]["value"]) == (23.7, 56.2)
    assert component(observation, "base-rate")["valueQuantity"]["value"] == 22.1
    assert observation["valueString"] == a_statement().sentence


def test_counts_of_one_to_four_are_masked_everywhere() -> None:
    report = a_report()
    observation = resources(report)["Observation"][2]
    for code in ("n-with", "interval", "base-rate"):
        masked = component(observation, code)
        assert masked["dataAbsentReason"]["coding"][0]["code"] == "masked"
        assert not any(key.startswith("value") for key in masked)
    sentence = observation["valueString"]
    assert "fewer than 5 had pneumothorax recorded" in sentence
    assert "with a portable film it was recorded in fewer than 5" in sentence
    assert "%" not in sentence
    original = report.findings[1].sentence
    assert original not in json.dumps(diagnostic_report_bundle(report, REGISTRATION))


def test_few_neighbors_are_masked_and_no_finding_is_stated() -> None:
    report = a_report(neighbors=(a_neighbor(1), a_neighbor(2)), findings=())
    found = resources(report)
    assert component(found["Observation"][0], "n")["dataAbsentReason"]
    assert "Fewer than 5 patients: too few to count." in found["DiagnosticReport"][0]["conclusion"]


def test_nothing_about_a_single_other_patient_leaves() -> None:
    exported = json.dumps(diagnostic_report_bundle(a_report(), REGISTRATION))
    for value in ("60-69", "2021", "collection-x", "case-1", "picture-1", "died within"):
        assert value not in exported


def test_similarity_is_a_component_and_never_a_probability() -> None:
    observation = resources(a_report())["Observation"][0]
    best = component(observation, "best-similarity")
    assert best["valueQuantity"]["value"] == 0.91
    assert "not a probability" in best["code"]["text"]
    said = main_of(a_report())["conclusion"].replace(wording.NOT_THIS_PATIENT, "")
    assert "probability" not in said.lower()


@pytest.mark.parametrize(
    ("state", "sentence", "code"),
    [
        pytest.param(
            AnswerState.NOTHING_COMPARABLE,
            wording.abstention_sentence(0.41, 0.58),
            "not-applicable",
            id="nothing-comparable",
        ),
        pytest.param(
            AnswerState.NOT_ASSESSED,
            "Not assessed: image type not supported.",
            "not-performed",
            id="not-assessed",
        ),
    ],
)
def test_abstention_has_a_reason_and_no_value(state: AnswerState, sentence: str, code: str) -> None:
    report = a_report(
        state=state,
        abstention=sentence,
        priority=Priority.NOT_ASSESSED,
        neighbors=(),
        findings=(),
    )
    found = resources(report)
    (observation,) = found["Observation"]
    assert "valueString" not in observation
    assert observation["dataAbsentReason"]["coding"][0]["code"] == code
    assert observation["dataAbsentReason"]["text"] == sentence
    assert sentence in found["DiagnosticReport"][0]["conclusion"]


def test_narrative_names_the_study_with_a_readable_time_and_its_zone() -> None:
    div = main_of(a_report())["text"]["div"]
    zone = re.escape(REGISTRATION.time_zone)
    assert re.search(rf"About: [^<]+, \d{{1,2}} Jan 2026 \d{{2}}:\d{{2}} \({zone}\)", div)


def test_narrative_is_well_formed_and_escaped() -> None:
    report = a_report(library_name="<script>alert(1)</script> & Sons")
    div = main_of(report)["text"]["div"]
    element = fromstring(div)
    assert "<script>alert(1)</script> & Sons" in "".join(element.itertext())
    assert "<script>" not in div
    assert wording.REPORT_TITLE in div


def test_header_comes_first_and_no_sentence_claims_a_diagnosis() -> None:
    conclusion = main_of(a_report())["conclusion"]
    assert conclusion.startswith(wording.header("Sandbox library"))
    for banned in ("diagnosis is", "safe", "no danger"):
        assert banned not in conclusion.lower().replace("does not mean the film is normal", "")


def test_no_empty_member_is_sent() -> None:
    def check(value: object) -> None:
        assert value not in (None, "", [], {})
        members = value if isinstance(value, list) else []
        for member in value.values() if isinstance(value, dict) else members:
            check(member)

    bare = replace(a_report(), study=None, patient_id=None, inputs_missing=())
    check(diagnostic_report_bundle(a_report(), REGISTRATION))
    check(diagnostic_report_bundle(bare, REGISTRATION))


def test_resource_that_breaks_the_models_is_refused() -> None:
    with pytest.raises(ValueError, match="Observation"):
        validated({"resourceType": "Observation", "status": "final", "code": "no concept"})
