"""What public collections call a finding -> findings with a code where one is sure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from cds.domain.coding import Coding
from cds.domain.facts import Finding

NOT_STATED = frozenset({"", "todo", "unknown", "?", "n/a"})


def findings_from_text(text: str) -> tuple[Finding, ...]:
    """Read a cell such as ``Pneumonia/Viral/COVID-19`` or ``COVID-19, ARDS``.

    Of a path the last step counts; a term that is in no list is kept as text, as a diagnosis. The
    first finding of the cell stays first: it is the one that a page calls the diagnosis.

    Parameters
    ----------
    text
        One cell; a word for "not stated" gives nothing.

    Examples
    --------
    >>> [f.coding.key for f in findings_from_text("COVID-19, ARDS")]
    ['840539006', '67782005']
    >>> findings_from_text("todo")
    ()

    """
    found: dict[str, Finding] = {}
    for term in re.split(r"[,;]", text):
        step = term.split("/")[-1].strip()
        if step.casefold() in NOT_STATED:
            continue
        finding = _terms().get(step.casefold()) or Finding(Coding(step), is_diagnosis=True)
        found.setdefault(finding.coding.key, finding)
    return tuple(found.values())


def coded_term(term: str) -> Coding | None:
    """Return the coding that one of the two tables of terms has for a word, or None.

    Examples
    --------
    >>> coded_term("Effusion").code, coded_term("Infiltration")
    ('60046008', None)

    """
    finding = _terms().get(term.strip().casefold())
    return finding.coding if finding is not None else None


@cache
def _terms() -> Mapping[str, Finding]:
    table = tomllib.loads(files("cds.library").joinpath("findings.toml").read_text("utf-8"))
    return {
        name: Finding(
            Coding(entry["display"], entry.get("code")), is_diagnosis=entry["is_diagnosis"]
        )
        for entry in table["finding"]
        for name in entry["names"]
    }
