"""One line of a check: what was looked at, whether it is right, and what to do if not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a line says; UNKNOWN is what could not be looked at, and is never taken for PASS."""

    PASS = "PASS"  # noqa: S105  # no password
    WARN = "WARN"
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One line; its texts are free of PHI and of secrets.

    Attributes
    ----------
    name
        What was looked at, for example ``fhir tls``.
    evidence
        What was tried and what answered.
    action
        What to open, change or ask for; empty where nothing is to be done.

    """

    name: str
    verdict: Verdict
    evidence: str
    action: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the line as plain values."""
        return {**asdict(self), "verdict": self.verdict.value}


def passed(name: str, evidence: str) -> CheckLine:
    """Return a line that is right."""
    return CheckLine(name, Verdict.PASS, evidence)


def warned(name: str, evidence: str, action: str) -> CheckLine:
    """Return a line that works, but not for ever or not for all."""
    return CheckLine(name, Verdict.WARN, evidence, action)


def failed(name: str, evidence: str, action: str) -> CheckLine:
    """Return a line that is wrong."""
    return CheckLine(name, Verdict.FAIL, evidence, action)


def unknown(name: str, evidence: str, action: str = "") -> CheckLine:
    """Return a line that could not be looked at, with what it would need."""
    return CheckLine(name, Verdict.UNKNOWN, evidence, action)


def has_failed(lines: Iterable[CheckLine]) -> bool:
    """Tell whether one of the lines is FAIL."""
    return any(line.verdict is Verdict.FAIL for line in lines)
