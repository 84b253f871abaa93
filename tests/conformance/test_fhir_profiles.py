"""The profiles of ``fhir_profiles/`` and the resources that the code emits say the same.

The rules are read from the FSH sources, so a change of the profiles without the code fails here,
and a change of the code without the profiles. SUSHI, from npm, is needed for the last
test only.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cds.domain import wording
from cds.domain.coding import LOCAL, Coding
from cds.domain.report import AnswerState, CaseReport, Direction, Priority, ReportVersions
from cds.fhir.ai_label import AIAST, DEVICE_SYSTEM, INVESTIGATIONAL, PRODUCT
from cds.fhir.comparison_observations import CATEGORY, COMPARISON, FINDING
from cds.fhir.diagnostic_report import REPORT_CODE, diagnostic_report_bundle
from tests.builders.registration import a_registration
from tests.builders.report import a_neighbor, a_report, a_statement
from tests.conformance.fsh import Fsh, Profile, bare, codes_of
from tests.servers.sushi import Compile

ROOT = Path(__file__).resolve().parents[2]
ROOM = ROOT / "fhir_profiles"
TEXT = "\n".join(path.read_text("utf-8") for path in sorted((ROOM / "input/fsh").glob("*.fsh")))
PNEUMOTHORAX = Coding("Pneumothorax", "36118008")

Json = Any


def part(observation: Json, code: str) -> Json:
    """Return the component of a code; an empty one if there is none."""
    own = [one for one in observation["component"] if (LOCAL, code) in codes_of(one["code"])]
    return own[0] if own else {}


def has_value(node: Json) -> bool:
    return any(key.startswith("value") for key in node)


def is_few(node: Json) -> bool:
    return node.get("valueInteger", 0) in range(1, 5)


def interval_follows(observation: Json) -> bool:
    masked = {"dataAbsentReason" in part(observation, code) for code in ("n-with", "interval")}
    return len(masked) == 1


def direction_follows(observation: Json) -> bool:
    has_base = has_value(part(observation, "base-rate"))
    has_nobody = part(observation, "n-eligible").get("valueInteger") == 0
    is_open = has_value(part(observation, "n-with")) and (has_base or has_nobody)
    return is_open or not part(observation, "direction")


# Each invariant's FHIRPath, and the same in Python: a changed expression has no entry and fails.
WITH = "component.where(code.coding.code = '{}')"
PREDICATES: dict[str, Callable[[Json], bool]] = {
    "value.exists() xor dataAbsentReason.exists()": (
        lambda node: has_value(node) != ("dataAbsentReason" in node)
    ),
    "value.empty() or value = 0 or value >= 5": lambda node: not is_few(node),
    f"{WITH.format('n-with')}.dataAbsentReason.exists() = "
    f"{WITH.format('interval')}.dataAbsentReason.exists()": interval_follows,
    f"{WITH.format('direction')}.empty() or ({WITH.format('n-with')}.value.exists() and "
    f"({WITH.format('base-rate')}.value.exists() or "
    f"{WITH.format('n-eligible')}.value = 0))": direction_follows,
}


def profiles(text: str = TEXT) -> dict[str, Profile]:
    fsh = Fsh(text)
    return {name: Profile(fsh, name, PREDICATES) for name in fsh.named("Profile")}


FSH, PROFILES = Fsh(TEXT), profiles()
EXAMPLES = [name for name in FSH.named("Instance") if FSH.keyword(name, "Usage") == "#example"]
A_MASKED = replace(a_statement("Pneumothorax", n_with=2, n_eligible_with=3), coding=PNEUMOTHORAX)
EXAMPLE = a_report(findings=(a_statement(), A_MASKED))
NOTHING: dict[str, Any] = {"neighbors": (), "findings": ()}
REPORTS = {
    "compared": EXAMPLE,
    "directions": a_report(
        findings=(
            a_statement(n_with=7, n_eligible_with=45),
            a_statement(n_with=0, n_eligible_with=120),
            a_statement(n_with=12, n_eligible_with=3),
            a_statement(n_with=3, n_eligible_with=45),
            replace(a_statement(), n_eligible_with=0, n_eligible=0),
            replace(a_statement(), coding=Coding("Free subdiaphragmatic air")),
        )
    ),
    "few-neighbors": a_report(neighbors=(a_neighbor(1), a_neighbor(2)), findings=()),
    "nothing-comparable": a_report(
        **NOTHING,
        state=AnswerState.NOTHING_COMPARABLE,
        abstention=wording.abstention_sentence(0.41, 0.58),
    ),
    "not-assessed": a_report(
        **NOTHING,
        state=AnswerState.NOT_ASSESSED,
        priority=Priority.NOT_ASSESSED,
        abstention="Not assessed: image type not supported.",
        best_similarity=None,
        similarity_limit=None,
        n_eligible=0,
        n_library_patients=3,
        versions=ReportVersions("precedent 0.1.0", "", "", "", "1"),
    ),
    "without-study": a_report(study=None),
}


def emitted(report: CaseReport) -> list[Json]:
    """Return the resources of an answer, each as the API would send it."""
    bundle = diagnostic_report_bundle(report, a_registration())
    return [json.loads(json.dumps(entry["resource"])) for entry in bundle["entry"]]


def profile_of(resource: Json, among: dict[str, Profile] = PROFILES) -> Profile:
    """Return the profile of a resource; Observations are told apart by their ids."""
    is_comparison = resource["id"].endswith("-comparison")
    observation = "ComparisonObservation" if is_comparison else "FindingObservation"
    others = {p.resource_type: p for p in among.values() if p.resource_type != "Observation"}
    return others.get(resource["resourceType"]) or among[observation]


def all_violations(report: CaseReport, among: dict[str, Profile] = PROFILES) -> list[str]:
    """Return the rules that an answer breaks."""
    return [
        f"{profile_of(resource, among).name}: {one}"
        for resource in emitted(report)
        for one in profile_of(resource, among).violations(resource)
    ]


def local_codings(node: Json) -> Iterator[tuple[str, str]]:
    """Yield code and display of every coding from our own system."""
    if isinstance(node, dict):
        if node.get("system") == LOCAL:
            yield node["code"], node["display"]
        node = list(node.values())
    if isinstance(node, list):
        for one in node:
            yield from local_codings(one)


def flat(node: Json, profile: Profile, path: str = "") -> Iterator[tuple[str, Json]]:
    """Yield each primitive with its path, slices named as in FSH and ``[0]`` left out."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from flat(value, profile, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            label = profile.slice_of(bare(path), value) or (number or "")
            yield from flat(value, profile, f"{path}[{label}]" if label else path)
    else:
        yield path, node


def stated(name: str) -> dict[str, Json]:
    """Return what an example of the FSH states: path to primitive."""
    profile = PROFILES[FSH.keyword(name, "InstanceOf")]
    rules = [rule for rule in FSH.rules(name) if rule.kind == "fixed"]
    return {
        path: value
        for rule in rules
        for path, value in flat(rule.value, profile, rule.path.replace("[0]", ""))
    }


def test_urls_when_compared_with_the_code_are_the_same() -> None:
    config = (ROOM / "sushi-config.yaml").read_text("utf-8")
    canonical = re.search(r"^canonical: (\S+)$", config, re.MULTILINE)
    assert canonical
    assert f"{canonical[1]}/CodeSystem/{FSH.keyword('Local', 'Id')}" == LOCAL
    assert FSH.aliases["$local"] == LOCAL
    naming = {rule.path: rule.value for rule in FSH.rules("Versions")}
    assert naming["uniqueId[0].value"] == DEVICE_SYSTEM
    assert f"{canonical[1]}/NamingSystem/{naming['id']}" == DEVICE_SYSTEM


@pytest.mark.parametrize(
    ("name", "kind", "path", "value"),
    [
        ("SimilarCaseReport", "fixed", "status", "preliminary"),
        ("SimilarCaseReport", "card", "subject", (1, 1)),
        ("SimilarCaseReport", "card", "conclusionCode", (0, 0)),
        ("SimilarCaseReport", "card", "performer", (0, 0)),
        ("SimilarCaseReport", "card", "resultsInterpreter", (0, 0)),
        ("SimilarCaseReport", "fixed", "code", (REPORT_CODE,)),
        ("ComparisonObservation", "fixed", "code", COMPARISON[:1]),
        ("FindingObservation", "fixed", "code", FINDING[:1]),
        *((name, "card", "meta.security[ai]", (1, 1)) for name in PROFILES),
        *((name, "fixed", "meta.security[ai]", "AIAST") for name in PROFILES),
        *(
            (name, kind, path, value)
            for name in ("ComparisonObservation", "FindingObservation")
            for kind, path, value in (
                ("fixed", "status", "preliminary"),
                ("fixed", "category", CATEGORY[:1]),
                ("card", "device", (1, 1)),
                ("card", "subject", (1, 1)),
                ("card", "performer", (0, 0)),
                ("slicing.rules", "component", "#closed"),
            )
        ),
        *(
            ("FindingObservation", "fixed", f"component[{name}].dataAbsentReason", ("masked",))
            for name in ("nWith", "n", "interval", "nEligible", "baseRate")
        ),
        *(
            ("FindingObservation", "card", f"component[{name}]", (1, 1))
            for name in ("finding", "nWith", "n", "interval", "nEligible", "baseRate")
        ),
        *(
            ("ComparisonObservation", "card", f"component[{name}]", (1, 1))
            for name in ("n", "nEligible", "nLibrary", "imageWeight", "recordWeight")
        ),
        ("AiDevice", "fixed", "manufacturer", PRODUCT),
        ("AiDevice", "fixed", "identifier.system", DEVICE_SYSTEM),
        ("AiDevice", "fixed", "note.text", INVESTIGATIONAL),
        ("AiProvenance", "fixed", "reason", ("AIAST",)),
    ],
)
def test_profile_when_read_holds_the_rule(name: str, kind: str, path: str, value: Json) -> None:
    (rule,) = [r for r in PROFILES[name].of(kind) if r.path == path]
    if kind == "card":
        assert (rule.low, rule.high) == value
    elif isinstance(rule.value, dict) and "coding" in rule.value:
        assert tuple(coding["code"] for coding in rule.value["coding"]) == value
    elif isinstance(rule.value, dict):
        assert rule.value == {key: AIAST[key] for key in ("system", "code")}
    else:
        assert rule.value == value


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_answer_when_emitted_keeps_every_rule(report: CaseReport) -> None:
    assert all_violations(report) == []


def test_report_when_nobody_is_its_subject_does_not_conform() -> None:
    found = all_violations(a_report(patient_id=None))
    assert "SimilarCaseReport: subject card" in found
    assert "ComparisonObservation: subject card" in found


def test_elements_when_compared_with_the_profiles_are_all_named_there_and_all_used() -> None:
    resources = [resource for report in REPORTS.values() for resource in emitted(report)]
    for profile in PROFILES.values():
        own = [one for one in resources if profile_of(one) is profile]
        used = {
            re.sub(r"^(value|effective|occurred)[A-Z]\w*", r"\1", k) for one in own for k in one
        }
        named = {bare(rule.path).partition(".")[0] for rule in profile.rules} - {""}
        absent = {rule.path for rule in profile.of("card") if rule.high == 0}
        unsaid = {"resourceType", "id", "recorded"}  # FHIR itself demands them
        assert used - unsaid == named - absent, profile.name


SPOILT: dict[str, tuple[str, Callable[[Json], object]]] = {
    "final": ("", lambda r: r.update(status="final")),
    "no-label": ("", lambda r: r["meta"].pop("security")),
    "other-label": ("", lambda r: r["meta"]["security"][0].update(code="AIRPT")),
    "conclusion-code": ("", lambda r: r.update(conclusionCode=[{"text": "x"}])),
    "performer": ("", lambda r: r.update(performer=[{"reference": "Organization/1"}])),
    "no-subject": ("", lambda r: r.pop("subject")),
    "group-subject": ("", lambda r: r["subject"].update(reference="https://x/Group/1")),
    "other-code": ("", lambda r: r["code"]["coding"][0].update(code="18748-4")),
    "no-results": ("", lambda r: r.pop("result")),
    "no-value": ("-comparison", lambda r: r.pop("valueString")),
    "value-and-reason": ("-comparison", lambda r: r.update(dataAbsentReason={"text": "x"})),
    "no-device": ("-comparison", lambda r: r.pop("device")),
    "part-lost": ("-comparison", lambda r: r["component"].pop(0)),
    "part-unknown": ("-comparison", lambda r: r["component"].append({"code": {"text": "x"}})),
    "part-twice": ("-comparison", lambda r: r["component"].append(r["component"][0])),
    "other-unit": (
        "-comparison",
        lambda r: part(r, "image-weight")["valueQuantity"].update(code="%"),
    ),
    "other-type": ("-comparison", lambda r: part(r, "n").update(valueString="31")),
    "few-shown": ("-comparison", lambda r: part(r, "n").update(valueInteger=4)),
    "few-shown-too": ("-finding-2", lambda r: part(r, "n-with").update(valueInteger=12)),
    "other-reason": (
        "-finding-2",
        lambda r: part(r, "n-with")["dataAbsentReason"]["coding"][0].update(code="unknown"),
    ),
    "interval-gone": (
        "-finding-1",
        lambda r: part(r, "interval").update(
            dataAbsentReason=part(r, "interval").pop("valueRange")
            and {"coding": [{"system": FSH.aliases["$absent"], "code": "masked"}]}
        ),
    ),
    "direction-shown": (
        "-finding-2",
        lambda r: r["component"].append(deepcopy(part(emitted(EXAMPLE)[2], "direction"))),
    ),
    "direction-unknown": (
        "-finding-1",
        lambda r: part(r, "direction")["valueCodeableConcept"]["coding"][0].update(code="rarely"),
    ),
    "other-maker": ("-device", lambda r: r.update(manufacturer="Somebody")),
    "version-unknown": ("-device", lambda r: r["version"].append({"value": "1", "type": {}})),
    "unlabelled-note": ("-device", lambda r: r["note"][0].update(text="Cleared.")),
    "no-agent": ("-provenance", lambda r: r.pop("agent")),
}


@pytest.mark.parametrize(("suffix", "spoil"), SPOILT.values(), ids=SPOILT)
def test_resource_when_spoilt_breaks_a_rule(suffix: str, spoil: Callable[[Json], object]) -> None:
    resource = next(r for r in emitted(EXAMPLE) if r["id"] == EXAMPLE.report_id + suffix)
    spoil(resource)
    assert profile_of(resource).violations(resource)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("* status = #preliminary", "* status = #final"),
        ("* conclusionCode 0..0", "* conclusionCode 1..1"),
        ("* meta.security[ai] = $observation-value#AIAST", "* meta.security[ai] = $sct#1"),
        ("* code = $local#similar-case-comparison\n", "* code = $local#n\n"),
        ("device 1..1", "device 0..0"),
        ("direction 0..1", "direction 1..1"),
        ("dataAbsentReason = $absent#masked", "dataAbsentReason = $absent#unknown"),
        ("imageWeight 1..1", "imageWeight 0..0"),
        ("value[x] only integer", "value[x] only Quantity"),
        ("component[baseRate].valueQuantity = '%'", "component[baseRate].valueQuantity = '1'"),
        ("* $local#less-often\n", ""),
        ("* $local#index-generation\n", ""),
        ("only Reference(Device)", "only Reference(DeviceMetric)"),
    ],
)
def test_profiles_when_changed_without_the_code_no_longer_hold(old: str, new: str) -> None:
    assert old in TEXT
    changed = profiles(TEXT.replace(old, new))
    assert [one for report in REPORTS.values() for one in all_violations(report, changed)]


def test_fsh_when_it_has_a_line_that_is_not_understood_is_refused() -> None:
    with pytest.raises(ValueError, match="not understood"):
        profiles(TEXT.replace("* text 1..1", "* text 1..1 MS"))


def test_local_codes_when_compared_with_the_code_system_are_the_same() -> None:
    found = {one for report in REPORTS.values() for one in local_codings(emitted(report))}
    assert dict(found) == FSH.concepts("Local")
    assert len(found) == len(dict(found)), "one code with two displays"


def test_directions_when_compared_with_the_value_set_are_the_same() -> None:
    codes = {(LOCAL, direction.value.replace(" ", "-")) for direction in Direction}
    assert FSH.members("Directions") == codes


@pytest.mark.parametrize("name", FSH.named("ValueSet"))
def test_value_set_when_it_names_our_codes_names_defined_ones(name: str) -> None:
    members = FSH.members(name)
    assert len(members) == len(FSH.definitions[name].lines), "a line is not understood"
    assert {code for system, code in members if system == LOCAL} <= set(FSH.concepts("Local"))


def test_examples_when_listed_are_the_resources_of_one_answer() -> None:
    stated_ids = [stated(name)["id"] for name in EXAMPLES]
    assert stated_ids == [resource["id"] for resource in emitted(EXAMPLE)]


@pytest.mark.parametrize("number", range(len(emitted(EXAMPLE))))
def test_example_when_compared_with_what_is_emitted_is_the_same(number: int) -> None:
    resource = emitted(EXAMPLE)[number]
    name = EXAMPLES[number]
    profile = PROFILES[FSH.keyword(name, "InstanceOf")]
    assert profile is profile_of(resource)
    resource.pop("resourceType")
    assert stated(name) == dict(flat(resource, profile))


def test_sushi_when_it_compiles_the_profiles_finds_no_error(
    tmp_path: Path, compile_fsh: Compile
) -> None:
    shutil.copytree(ROOM, tmp_path / "room")
    done = compile_fsh(tmp_path / "room")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b0 Errors", done.stdout), done.stdout
    made = tmp_path / "room/fsh-generated/resources"
    for resource in emitted(EXAMPLE):
        file = made / f"{resource['resourceType']}-{resource['id']}.json"
        assert json.loads(file.read_text("utf-8")) == resource
