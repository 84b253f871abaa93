"""Cards that cannot be built, and what those that can look like."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from cds.hooks.card import Card, CardCoding, Indicator, Link, LinkType, Source, response_json

TOPIC = CardCoding("t", "https://x.example.invalid/s", "Topic")
SOURCE = Source("Radiology", TOPIC)


def a_card(**over: Any) -> Card:
    card = Card(uuid=str(uuid4()), summary="A sentence.", indicator=Indicator.INFO, source=SOURCE)
    return replace(card, **over)


def test_card_when_minimal_has_no_optional_member() -> None:
    card = a_card()
    assert card.to_json() == {
        "uuid": card.uuid,
        "summary": "A sentence.",
        "indicator": "info",
        "source": {
            "label": "Radiology",
            "topic": {"code": "t", "system": "https://x.example.invalid/s", "display": "Topic"},
        },
    }


def test_card_when_full_has_every_member() -> None:
    link = Link("Open", "https://app.example.invalid/launch", LinkType.SMART, '{"study":"1"}')
    card = a_card(
        detail="More.",
        links=(link,),
        override_reasons=(TOPIC,),
        source=Source("Radiology", TOPIC, "https://dept.example.invalid/"),
    )
    wire = card.to_json()
    assert wire["detail"] == "More."
    assert wire["source"]["url"] == "https://dept.example.invalid/"
    assert wire["links"] == [
        {
            "label": "Open",
            "url": "https://app.example.invalid/launch",
            "type": "smart",
            "appContext": '{"study":"1"}',
        }
    ]
    assert wire["overrideReasons"] == [TOPIC.to_json()]


def test_link_when_it_has_no_context_leaves_it_out() -> None:
    link = Link("Open", "https://app.example.invalid/", LinkType.ABSOLUTE)
    assert "appContext" not in link.to_json()


@pytest.mark.requirement("HOOKS-SUMMARY-LENGTH")
@pytest.mark.requirement("A8")
@pytest.mark.parametrize(("length", "fits"), [(1, True), (139, True), (140, False), (0, False)])
def test_summary_when_it_has_a_length_is_refused_or_kept_whole(length: int, fits: bool) -> None:
    if fits:
        assert len(a_card(summary="x" * length).to_json()["summary"]) == length
    else:
        with pytest.raises(ValueError, match="summary"):
            a_card(summary="x" * length)


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: a_card(uuid="1"), id="no-uuid"),
        pytest.param(lambda: a_card(detail=" "), id="blank-detail"),
        pytest.param(lambda: Source("", TOPIC), id="blank-label"),
        pytest.param(lambda: Source("x", TOPIC, "/relative"), id="relative-source-url"),
        pytest.param(lambda: CardCoding("", "s", "d"), id="blank-code"),
        pytest.param(lambda: Link("x", "/launch", LinkType.SMART), id="relative-link"),
        pytest.param(lambda: Link("x", "javascript:alert(1)", LinkType.ABSOLUTE), id="script-link"),
        pytest.param(
            lambda: Link("x", "https://a.example.invalid/", LinkType.SMART, ""), id="blank-context"
        ),
    ],
)
def test_card_when_a_part_is_blank_or_malformed_cannot_be_built(build: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        build()


@pytest.mark.requirement("HOOKS-APP-CONTEXT")
def test_link_when_absolute_refuses_an_app_context() -> None:
    with pytest.raises(ValueError, match="smart"):
        Link("x", "https://a.example.invalid/", LinkType.ABSOLUTE, "{}")


@pytest.mark.requirement("HOOKS-CARDS-ARRAY")
def test_response_when_there_is_no_guidance_has_an_empty_array() -> None:
    assert response_json(()) == {"cards": []}
