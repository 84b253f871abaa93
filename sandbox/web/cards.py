"""CDS cards as the EHR shows them: checked, Markdown made safe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

_SUMMARY_LIMIT = 140
_INDICATORS = {"info": "Information", "warning": "Warning", "critical": "Critical"}


@dataclass(frozen=True, slots=True)
class CardLink:
    """A link of a card; only `smart` links carry an app context."""

    label: str
    url: str
    is_smart: bool
    app_context: str


@dataclass(frozen=True, slots=True)
class CardView:
    """One card, ready for the template."""

    summary: str
    indicator: str
    indicator_text: str
    source: str
    detail: Markup
    links: tuple[CardLink, ...]
    override_reasons: tuple[tuple[str, str], ...]


def card_view(card: dict[str, Any]) -> CardView | None:
    """Return what a card shows, or None if it breaks the rules of CDS Hooks."""
    summary, indicator = card.get("summary"), card.get("indicator")
    source = card.get("source", {}).get("label")
    if not isinstance(summary, str) or not 0 < len(summary) < _SUMMARY_LIMIT:
        return None
    if not isinstance(indicator, str) or indicator not in _INDICATORS or not source:
        return None
    return CardView(
        summary=summary,
        indicator=indicator,
        indicator_text=_INDICATORS[indicator],
        source=str(source),
        detail=markdown_as_html(str(card.get("detail", ""))),
        links=tuple(_link(link) for link in card.get("links", ()) if _is_web_link(link)),
        override_reasons=tuple(
            (str(reason.get("code", "")), str(reason["display"]))
            for reason in card.get("overrideReasons", ())
            if reason.get("display")
        ),
    )


def markdown_as_html(text: str) -> Markup:
    """Return Markdown of another system as HTML: no raw HTML, no pictures, no script links.

    Examples
    --------
    >>> str(markdown_as_html("**a** <script>x</script>")).strip()
    '<p><strong>a</strong> &lt;script&gt;x&lt;/script&gt;</p>'

    """
    return Markup(_renderer().render(text))  # noqa: S704  # markdown-it escapes raw HTML here


@cache
def _renderer() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def _link(link: dict[str, Any]) -> CardLink:
    is_smart = link["type"] == "smart"
    context = str(link.get("appContext", "")) if is_smart else ""
    return CardLink(str(link.get("label", "Open")), str(link["url"]), is_smart, context)


def _is_web_link(link: dict[str, Any]) -> bool:
    is_known = link.get("type") in {"smart", "absolute"}
    return is_known and str(link.get("url", "")).startswith(("http://", "https://"))
