"""A radiology report's text -> the findings that it states, with what it denies kept apart."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

from cds.domain.coding import Coding
from cds.domain.facts import Finding

PROOF = "report"
_SECTION = re.compile(r"(?m)^[ \t]*([A-Z][A-Za-z /]{3,40}):")
_ASIDE = frozenset(
    {
        *("indication", "indications", "clinical indication", "clinical information", "history"),
        *("clinical history", "reason for exam", "reason for examination", "comparison"),
        *("comparisons", "technique", "procedure", "exam", "examination", "recommendation"),
    }
)
_SENTENCE = re.compile(r"(?<=[.;!?])\s+|\n\s*\n|(?m:^)\s*\d+\.\s+|\s\d+\.\s+(?=[A-Z])")
_WORD = re.compile(r"[a-z0-9]+")


class Assertion(StrEnum):
    """What a report says of a finding."""

    PRESENT = "present"
    UNCERTAIN = "uncertain"
    EARLIER = "earlier"
    ABSENT = "absent"


_STRONGEST_FIRST = tuple(Assertion)


@dataclass(frozen=True, slots=True)
class ReportFinding:
    """A finding that a report names, and what it says of it."""

    finding: Finding
    assertion: Assertion


@dataclass(frozen=True, slots=True)
class _Cue:
    assertion: Assertion
    start: int
    end: int
    acts_before: bool


def findings_from_report(text: str) -> tuple[ReportFinding, ...]:
    """Read the findings that a report names.

    Sections that ask or compare (indication, history, comparison, technique) are left out. Within a
    sentence a finding takes the assertion of the nearest cue whose reach covers it: NegEx with the
    scopes of ConText. Over sentences the strongest assertion counts: present, then uncertain, then
    earlier, then absent, since "no effusion on the right" denies one side only.

    Parameters
    ----------
    text
        English report text.

    Returns
    -------
    tuple of ReportFinding
        Each finding once, in the order of first mention; side and place are not read.

    Examples
    --------
    >>> for f in findings_from_report("No pneumothorax. Small left pleural effusion is seen."):
    ...     print(f.finding.coding.display, f.assertion.value)
    Pneumothorax absent
    Pleural effusion present

    References
    ----------
    Chapman et al. 2001, doi 10.1006/jbin.2001.1029; Harkema et al. 2009,
    doi 10.1016/j.jbi.2009.05.002.

    """
    found: dict[str, ReportFinding] = {}
    for sentence in _sentences(text):
        for finding, assertion in _mentions(_WORD.findall(sentence.casefold())):
            known = found.get(finding.coding.key)
            if known is None or _is_stronger(assertion, known.assertion):
                found[finding.coding.key] = ReportFinding(finding, assertion)
    return tuple(found.values())


def stated_findings(text: str) -> tuple[Finding, ...]:
    """Return only what the report states as present, as signs proved by the report."""
    return tuple(f.finding for f in findings_from_report(text) if f.assertion is Assertion.PRESENT)


def _is_stronger(one: Assertion, other: Assertion) -> bool:
    return _STRONGEST_FIRST.index(one) < _STRONGEST_FIRST.index(other)


def _sentences(text: str) -> Iterator[str]:
    for section in _kept_sections(text):
        for sentence in _SENTENCE.split(section):
            if sentence and sentence.strip():
                yield sentence


def _kept_sections(text: str) -> Iterator[str]:
    heads = list(_SECTION.finditer(text))
    yield text[: heads[0].start()] if heads else text
    ends = [*(head.start() for head in heads[1:]), len(text)]
    for head, end in zip(heads, ends, strict=False):  # without a head there is one end too many
        if head.group(1).strip().casefold() not in _ASIDE:
            yield text[head.end() : end]


def _mentions(words: Sequence[str]) -> Iterator[tuple[Finding, Assertion]]:
    line = " ".join(words)
    starts = _word_starts(words)
    cues, breaks = _cues(line, starts)
    for finding, pattern in _terms():
        for match in pattern.finditer(line):
            first, last = starts[match.start()], starts[match.start()] + match.group().count(" ")
            yield finding, _assertion(first, last, cues, breaks)


def _word_starts(words: Sequence[str]) -> dict[int, int]:
    """Return position in the joined line -> number of the word."""
    starts, at = {}, 0
    for number, word in enumerate(words):
        starts[at] = number
        at += len(word) + 1
    return starts


def _cues(line: str, starts: dict[int, int]) -> tuple[list[_Cue], list[int]]:
    """Return the cues of a sentence, longest first where they overlap, and where scopes end."""
    taken: set[int] = set()
    cues: list[_Cue] = []
    breaks: list[int] = []
    for pattern, n_words, meanings in _context():
        for match in pattern.finditer(line):
            first = starts[match.start()]
            span = set(range(first, first + n_words))
            if span & taken:
                continue
            taken |= span
            for assertion, acts_before in meanings:
                if assertion is None:
                    breaks.append(first)
                else:
                    cues.append(_Cue(assertion, min(span), max(span), acts_before))
    return cues, sorted(breaks)


def _assertion(first: int, last: int, cues: list[_Cue], breaks: list[int]) -> Assertion:
    reached = [
        (first - cue.end if cue.acts_before else cue.start - last, cue)
        for cue in cues
        if (cue.end < first and cue.acts_before and not _between(cue.end, first, breaks))
        or (cue.start > last and not cue.acts_before and not _between(last, cue.start, breaks))
    ]
    if any(cue.assertion is Assertion.ABSENT for _, cue in reached):
        return Assertion.ABSENT
    nearest = min(reached, key=lambda pair: pair[0], default=None)
    return Assertion.PRESENT if nearest is None else nearest[1].assertion


def _between(low: int, high: int, breaks: list[int]) -> bool:
    return any(low < at < high for at in breaks)


@cache
def _terms() -> tuple[tuple[Finding, re.Pattern[str]], ...]:
    table = tomllib.loads(files("cds.library").joinpath("report_terms.toml").read_text("utf-8"))
    return tuple(
        (
            Finding(Coding(entry["display"], entry.get("code")), proof=PROOF),
            re.compile("|".join(map(_phrase_pattern, entry["phrases"]))),
        )
        for entry in table["term"]
    )


def _phrase_pattern(phrase: str) -> str:
    body = re.escape(phrase).replace(r"\*", "[a-z]*")
    return rf"(?<![a-z0-9]){body}(?![a-z0-9])"


_Meaning = tuple[Assertion | None, bool]


@cache
def _context() -> tuple[tuple[re.Pattern[str], int, tuple[_Meaning, ...]], ...]:
    """Return each cue, its words and meanings, longest first; no meaning disarms shorter ones."""
    table = tomllib.loads(files("cds.library").joinpath("report_context.toml").read_text("utf-8"))
    meanings: dict[str, list[_Meaning]] = {}
    for name in ("absent", "uncertain", "earlier"):
        for phrase in table[name]["before"]:
            meanings.setdefault(phrase, []).append((Assertion(name), True))
        for phrase in table[name]["after"]:
            meanings.setdefault(phrase, []).append((Assertion(name), False))
    for phrase in table["ends"]["words"]:
        meanings.setdefault(phrase, []).append((None, True))
    for phrase in table["absent"]["neither"]:
        meanings.setdefault(phrase, [])
    ordered = sorted(meanings.items(), key=lambda pair: (-pair[0].count(" "), -len(pair[0])))
    return tuple(
        (re.compile(_phrase_pattern(phrase)), phrase.count(" ") + 1, tuple(found))
        for phrase, found in ordered
    )
