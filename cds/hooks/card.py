"""The CDS Hooks card as a value, and its JSON: nothing null, nothing empty."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from cds.domain.wording import checked_summary


class Indicator(StrEnum):
    """Urgency of a card."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class LinkType(StrEnum):
    """Where a link leads: any page, or a SMART launch."""

    ABSOLUTE = "absolute"
    SMART = "smart"


@dataclass(frozen=True, slots=True)
class CardCoding:
    """CDS Hooks' own Coding: all three parts, since clients show the display."""

    code: str
    system: str
    display: str

    def __post_init__(self) -> None:
        _refuse_blank(self.code, self.system, self.display)

    def to_json(self) -> dict[str, Any]:
        """Return the wire form."""
        return {"code": self.code, "system": self.system, "display": self.display}


@dataclass(frozen=True, slots=True)
class Source:
    """Who says so: the department that answers for the card."""

    label: str
    topic: CardCoding
    url: str | None = None

    def __post_init__(self) -> None:
        _refuse_blank(self.label)
        if self.url is not None:
            _refuse_relative(self.url)

    def to_json(self) -> dict[str, Any]:
        """Return the wire form."""
        url = {} if self.url is None else {"url": self.url}
        return {"label": self.label, **url, "topic": self.topic.to_json()}


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a card; `app_context` returns in the token response of a SMART launch."""

    label: str
    url: str
    type: LinkType
    app_context: str | None = None

    def __post_init__(self) -> None:
        _refuse_blank(self.label)
        _refuse_relative(self.url)
        if self.app_context is not None:
            _refuse_blank(self.app_context)
            if self.type is not LinkType.SMART:
                raise ValueError("app_context belongs to smart links only")

    def to_json(self) -> dict[str, Any]:
        """Return the wire form."""
        context = {} if self.app_context is None else {"appContext": self.app_context}
        return {"label": self.label, "url": self.url, "type": self.type.value, **context}


@dataclass(frozen=True, slots=True)
class Card:
    """One card without suggestions: image matches never lead to actions (SAFETY R-FDA-3).

    Attributes
    ----------
    uuid
        Needed for feedback.
    summary
        One plain sentence of fewer than 140 characters; refused when longer, never cut.
    detail
        GitHub-Flavored Markdown; text from outside enters it as `DisplayText` only.

    References
    ----------
    CDS Hooks 2.0.1, Card Attributes.

    """

    uuid: str
    summary: str
    indicator: Indicator
    source: Source
    detail: str | None = None
    links: tuple[Link, ...] = ()
    override_reasons: tuple[CardCoding, ...] = ()

    def __post_init__(self) -> None:
        UUID(self.uuid)
        checked_summary(self.summary)
        if self.detail is not None:
            _refuse_blank(self.detail)

    def to_json(self) -> dict[str, Any]:
        """Return the wire form; what has no value is left out."""
        wire: dict[str, Any] = {
            "uuid": self.uuid,
            "summary": self.summary,
            "indicator": self.indicator.value,
            "source": self.source.to_json(),
        }
        if self.detail is not None:
            wire["detail"] = self.detail
        if self.override_reasons:
            wire["overrideReasons"] = [reason.to_json() for reason in self.override_reasons]
        if self.links:
            wire["links"] = [link.to_json() for link in self.links]
        return wire


def response_json(cards: tuple[Card, ...]) -> dict[str, Any]:
    """Return the body of an answer; no guidance is an empty list of cards.

    Examples
    --------
    >>> response_json(())
    {'cards': []}

    """
    return {"cards": [card.to_json() for card in cards]}


def _refuse_blank(*texts: str) -> None:
    if not all(text.strip() for text in texts):
        raise ValueError("a text of a card is not blank")


def _refuse_relative(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("a card's URL is absolute")
