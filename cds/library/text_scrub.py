"""Free text of other patients: only what an allow-list knows may be shown (SAFETY R-HIP-8).

A block-list of names can never be complete. Here a word stays because it is known to be about
anatomy, disease or grammar; names, dates, numbers, places and codes fall out without being known.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.resources import files

REMOVED = "[…]"
MAX_REMOVED_SHARE = 0.2  # of the words: a text with more holes than this is not understood
MAX_SHOWN_AGE_YEARS = 89  # 45 CFR 164.514(b)(2)(i)(C): older is grouped
_TOKEN = re.compile(
    r"[^\W\d_]+(?:['\u2019\-][^\W\d_]+)*(?!\w)"  # words, with inner hyphens and apostrophes
    r"|\w+(?:[.,:/\-]\w+)*"  # whatever holds a digit: numbers, dates, codes
    r"|[^\w\s]"
    r"|\s+"
)
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019\-][^\W\d_]+)*")
_PLACEHOLDER = re.compile(r"[xX]{3,}|_{2,}")  # of an earlier de-identification
_NUMBER = re.compile(r"\d{1,3}(?:\.\d{1,2})?")
_MEASURE = re.compile(r"(\d{1,3}(?:\.\d{1,2})?)(mm|cm)")
_AGE = re.compile(r"(\d{1,3})-(?:year|yr|month|week|day)s?(?:-old)?", re.IGNORECASE)
_ORDINAL = re.compile(r"(?:1st|2nd|3rd|[4-9]th|1[0-2]th)")
_SPINE_LEVEL = re.compile(r"(?:[Tt](?:[1-9]|1[0-2])|[Ll][1-5]|[Cc][1-7])(?:-(?:[TtLl])?\d{1,2})?")
_SENTENCE_ENDS = frozenset(".:?!)-")
_PUNCTUATION = frozenset(".,;:()?!-/%\"'")


class _Kind(Enum):
    KEPT = "kept"
    DOUBTFUL = "doubtful"  # kept, unless something beside it was removed
    NEUTRAL = "neutral"  # blanks and punctuation
    PLACEHOLDER = "placeholder"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class ScrubbedText:
    """What is left of a text.

    Attributes
    ----------
    text
        With ``[…]`` where something was removed; empty where too much was.
    n_words, n_removed
        Words and numbers read, and how many of them were removed; placeholders of an earlier
        de-identification are not counted.

    """

    text: str
    n_words: int
    n_removed: int

    @property
    def is_showable(self) -> bool:
        """Tell whether enough is left to be understood."""
        return bool(self.text)


def scrub(text: str) -> ScrubbedText:
    """Return the text with everything removed that no list knows.

    Parameters
    ----------
    text
        A report's text; untrusted.

    Examples
    --------
    >>> scrub("There is no pleural effusion and no pneumothorax. Seen by Anna Miller.").text
    'There is no pleural effusion and no pneumothorax. Seen by […].'
    >>> scrub("Anna Miller, born 1950").is_showable
    False

    """
    tokens = _TOKEN.findall(text)
    kinds = [_kind(tokens, i) for i in range(len(tokens))]
    _doubt_what_is_beside(tokens, kinds)
    n_removed = kinds.count(_Kind.REMOVED)
    n_words = n_removed + kinds.count(_Kind.KEPT) + kinds.count(_Kind.DOUBTFUL)
    if n_words == 0 or n_removed > MAX_REMOVED_SHARE * n_words:
        return ScrubbedText("", n_words, n_removed)
    return ScrubbedText(_joined(tokens, kinds), n_words, n_removed)


def _kind(tokens: list[str], i: int) -> _Kind:
    token = tokens[i]
    if token.isspace() or token in _PUNCTUATION:
        return _Kind.NEUTRAL
    if _PLACEHOLDER.fullmatch(token):
        return _Kind.PLACEHOLDER
    if _WORD.fullmatch(token):
        return _kind_of_word(token, opens_sentence=_opens_sentence(tokens, i))
    return _Kind.DOUBTFUL if _is_known_number(tokens, i) else _Kind.REMOVED


def _opens_sentence(tokens: list[str], i: int) -> bool:
    before = next((t for t in reversed(tokens[:i]) if t.strip(" \t")), "")
    return not before or before in _SENTENCE_ENDS or "\n" in before


def _kind_of_word(token: str, *, opens_sentence: bool) -> _Kind:
    word, lists = token.casefold(), _lists()
    if word in lists["phrases"]:
        return _Kind.KEPT
    parts = re.split(r"['\u2019\-]", re.sub(r"['\u2019]s$", "", word))
    if not all(part in lists["words"] for part in parts):
        return _Kind.REMOVED
    if token.islower() or not any(part in lists["also_names"] for part in parts):
        return _Kind.KEPT
    return _Kind.DOUBTFUL if opens_sentence or token.isupper() else _Kind.REMOVED


def _is_known_number(tokens: list[str], i: int) -> bool:
    token = tokens[i]
    if _ORDINAL.fullmatch(token) or _SPINE_LEVEL.fullmatch(token) or _MEASURE.fullmatch(token):
        return True
    age = _AGE.fullmatch(token)
    if age is not None:
        return int(age.group(1)) <= MAX_SHOWN_AGE_YEARS
    if not _NUMBER.fullmatch(token):
        return False
    if len(token) == 1 and _numbers_an_item(tokens, i):
        return True
    unit = _unit_after(tokens, i)
    if unit in {"year", "years", "yo", "y"}:
        return float(token) <= MAX_SHOWN_AGE_YEARS
    return unit in _lists()["units"]


def _numbers_an_item(tokens: list[str], i: int) -> bool:
    """Tell whether a digit opens an item of a list: "1. Normal chest"."""
    before = [t for t in tokens[:i] if not t.isspace()]
    opens = not before or before[-1] in {".", ";", ":"}
    return opens and tokens[i + 1 : i + 2] in (["."], [")"])


def _unit_after(tokens: list[str], i: int) -> str:
    """Return the word that follows, over blanks, a hyphen and "x 4" of a dimension."""
    following = [t.casefold() for t in tokens[i + 1 : i + 10] if not t.isspace() and t != "-"]
    while len(following) > 2 and following[0] in {"x", "by"} and _NUMBER.fullmatch(following[1]):
        following = following[2:]
    return re.split(r"-", following[0])[0] if following else ""


def _doubt_what_is_beside(tokens: list[str], kinds: list[_Kind]) -> None:
    """Remove doubtful tokens next to removed ones, until no more fall."""
    order = [i for i, kind in enumerate(kinds) if kind is not _Kind.NEUTRAL]
    waiting = [n for n, i in enumerate(order) if kinds[i] is _Kind.REMOVED]
    while waiting:
        n = waiting.pop()
        for beside in (n - 1, n + 1):
            is_there = 0 <= beside < len(order)
            if is_there and kinds[order[beside]] is _Kind.DOUBTFUL:
                kinds[order[beside]] = _Kind.REMOVED
                waiting.append(beside)


def _joined(tokens: list[str], kinds: list[_Kind]) -> str:
    """Write the text again; a run of removed tokens, with the blanks inside it, is one mark."""
    out: list[str] = []
    between: list[str] = []
    for token, kind in zip(tokens, kinds, strict=True):
        if kind is _Kind.NEUTRAL:
            between.append(token)
            continue
        is_gone = kind in {_Kind.REMOVED, _Kind.PLACEHOLDER}
        if not (is_gone and out and out[-1] == REMOVED):
            out.extend([*between, REMOVED if is_gone else token])
        between = []
    return "".join([*out, *between]).strip()


@cache
def _lists() -> Mapping[str, frozenset[str]]:
    table = tomllib.loads(
        files("cds.library").joinpath("report_vocabulary.toml").read_text("utf-8")
    )
    words = f"{table['function_words']} {table['report_words']} {table['units']}".split()
    return {
        "words": frozenset(words) - frozenset(table["months"].split()) | {"may"},
        "also_names": frozenset(table["also_names"].split()),
        "phrases": frozenset(table["phrases"]),
        "units": frozenset(table["units"].split()),
    }
