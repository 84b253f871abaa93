"""Statements of CDS Hooks 2.0.1, and what a public test kit asserts of a CDS service."""

import json
import re
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from cds.domain.errors import CdsError, Reason
from cds.domain.report import AnswerState
from tests.builders.answers import a_case_report
from tests.fakes.machine_door import BASE, MachineDoor, a_hook_body

FAILED = CdsError(Reason.UPSTREAM_FAILED, "The PACS answered 503.")
SITUATIONS: dict[str, dict[str, Any]] = {
    "ready": {"report": a_case_report()},
    "nothing-comparable": {
        "report": a_case_report(
            state=AnswerState.NOTHING_COMPARABLE, abstention="None.", neighbors=()
        )
    },
    "pending": {"is_pending": True},
    "not-assessed": {"failure": CdsError(Reason.IMAGE_UNREADABLE, "It cannot be read.")},
    "identity": {"failure": CdsError(Reason.IDENTITY_MISMATCH, "Another patient's.")},
    "outage": {"failure": FAILED},
    "no-study": {"has_study": False},
}
WITH_CARD = [name for name in SITUATIONS if name != "no-study"]


@pytest.fixture
def door() -> MachineDoor:
    return MachineDoor()


@pytest.fixture(params=WITH_CARD)
def card(request: pytest.FixtureRequest, door: MachineDoor) -> dict[str, Any]:
    door.analyses(**SITUATIONS[request.param])
    (found,) = door.cards()
    return found


def discovery(door: MachineDoor) -> Any:
    response = door.http.get(BASE, headers={"Accept": "application/json"})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    return json.loads(response.data)


@pytest.mark.requirement("HOOKS-DISCOVERY-PATH")
@pytest.mark.requirement("A1")
@pytest.mark.requirement("A2")
def test_discovery_when_read_without_a_token_lists_services(door: MachineDoor) -> None:
    assert isinstance(discovery(door)["services"], list)


def test_discovery_when_read_with_a_token_answers_as_well(door: MachineDoor) -> None:
    token = door.cds_client.token(f"https://cds.example.invalid{BASE}")
    response = door.http.get(BASE, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 200


@pytest.mark.requirement("HOOKS-DISCOVERY-FIELDS")
@pytest.mark.requirement("A3")
def test_discovery_when_read_describes_each_service(door: MachineDoor) -> None:
    services = discovery(door)["services"]
    assert [(s["hook"], s["id"]) for s in services] == [("patient-view", "precedent-similar-cases")]
    for entry in services:
        for member in ("hook", "description", "id", "title", "usageRequirements"):
            assert isinstance(entry[member], str)
            assert entry[member]


@pytest.mark.requirement("HOOKS-PREFETCH-TOKENS")
def test_prefetch_when_read_uses_tokens_of_the_hook_and_the_allowed_queries(
    door: MachineDoor,
) -> None:
    (entry,) = discovery(door)["services"]
    assert set(entry["prefetch"]) == {
        "patient",
        "conditions",
        "observations",
        "imagingStudies",
        "diagnosticReports",
        "serviceRequests",
    }
    for query in entry["prefetch"].values():
        assert re.findall(r"{{(.*?)}}", query) == ["context.patientId"]
        parameters = urlsplit(query).query
        names = {pair.partition("=")[0] for pair in parameters.split("&")} if parameters else set()
        assert names <= {"patient", "category", "_sort", "_count"}


@pytest.mark.requirement("A4")
@pytest.mark.requirement("A6")
@pytest.mark.requirement("HOOKS-CARDS-ARRAY")
@pytest.mark.parametrize("situation", SITUATIONS)
def test_call_when_complete_is_exactly_200_with_cards(door: MachineDoor, situation: str) -> None:
    door.analyses(**SITUATIONS[situation])
    response = door.call()
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert isinstance(json.loads(response.data)["cards"], list)
    assert "systemActions" not in json.loads(response.data)


@pytest.mark.requirement("A7")
@pytest.mark.requirement("HOOKS-CARD-REQUIRED")
def test_card_when_shown_has_its_required_members(card: dict[str, Any]) -> None:
    assert isinstance(card["summary"], str)
    assert isinstance(card["source"], dict)
    assert card["summary"]
    assert card["indicator"]
    assert card["source"]
    assert str(UUID(card["uuid"])) == card["uuid"]


@pytest.mark.requirement("A8")
@pytest.mark.requirement("HOOKS-SUMMARY-LENGTH")
def test_card_when_shown_has_a_short_summary(card: dict[str, Any]) -> None:
    assert 0 < len(card["summary"]) < 140


@pytest.mark.requirement("A9")
@pytest.mark.requirement("HOOKS-INDICATOR")
def test_card_when_shown_has_a_known_indicator(card: dict[str, Any]) -> None:
    assert card["indicator"] in {"info", "warning", "critical"}


@pytest.mark.requirement("A10")
@pytest.mark.requirement("HOOKS-SOURCE-LABEL")
def test_card_when_shown_says_its_source_and_topic(card: dict[str, Any]) -> None:
    assert card["source"]["label"] == "Precedent (similar past cases)"
    assert all(card["source"]["topic"][member] for member in ("code", "system", "display"))


@pytest.mark.requirement("A13")
@pytest.mark.requirement("HOOKS-NO-EMPTY-VALUES")
def test_card_when_shown_has_no_empty_member(card: dict[str, Any]) -> None:
    assert isinstance(card["detail"], str)
    assert isinstance(card["links"], list)
    assert not list(empties(card))


def empties(value: Any) -> Any:
    """Yield each null, blank, empty array and empty object."""
    if value is None or value in ("", [], {}):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from empties(member)
    elif isinstance(value, list):
        for member in value:
            yield from empties(member)


@pytest.mark.requirement("A14")
@pytest.mark.requirement("A17")
@pytest.mark.requirement("HOOKS-SELECTION-BEHAVIOR")
def test_card_when_it_comes_from_pictures_suggests_no_action(card: dict[str, Any]) -> None:
    assert "suggestions" not in card
    assert "selectionBehavior" not in card


@pytest.mark.requirement("A15")
@pytest.mark.requirement("HOOKS-OVERRIDE-DISPLAY")
def test_card_when_shown_offers_coded_reasons(card: dict[str, Any]) -> None:
    assert card["overrideReasons"]
    for reason in card["overrideReasons"]:
        assert all(reason[member] for member in ("code", "system", "display"))


@pytest.mark.requirement("A16")
@pytest.mark.requirement("HOOKS-LINK-FIELDS")
@pytest.mark.requirement("HOOKS-APP-CONTEXT")
def test_card_when_shown_links_to_a_smart_launch(card: dict[str, Any]) -> None:
    (link,) = card["links"]
    assert link["label"]
    assert link["type"] == "smart"
    assert urlsplit(link["url"]).scheme == "https"
    assert urlsplit(link["url"]).hostname
    assert json.loads(link["appContext"])["study"] == "2.25.1"


@pytest.mark.requirement("HOOKS-PATIENT-VIEW-CONTEXT")
@pytest.mark.parametrize(
    ("context", "status"),
    [
        ({"userId": "Practitioner/1", "patientId": "p4"}, 200),
        ({"userId": "1", "patientId": "p4"}, 400),
        ({"userId": "Practitioner/1", "patientId": "Patient/p4"}, 400),
    ],
    ids=["reference-and-id", "bare-user", "patient-reference"],
)
def test_context_when_read_has_a_user_reference_and_a_bare_patient(
    door: MachineDoor, context: dict[str, str], status: int
) -> None:
    assert door.call(a_hook_body(context=context)).status_code == status


@pytest.mark.parametrize("token", [None, "not-a-jwt"], ids=["missing", "malformed"])
def test_call_when_the_token_is_missing_or_malformed_is_401(
    door: MachineDoor, token: str | None
) -> None:
    response = door.call(token=token or "", headers={} if token else {"Authorization": ""})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert response.get_json()["resourceType"] == "OperationOutcome"
    assert door.engine.asked == []


def test_call_when_the_token_is_for_discovery_is_401(door: MachineDoor) -> None:
    token = door.cds_client.token(f"https://cds.example.invalid{BASE}")
    response = door.call(token=token)
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
