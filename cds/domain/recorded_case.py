"""What a hospital's record says of one archived study: who, what was known then, what followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cds.domain.facts import Finding, HistoryFlag, Measurement, Outcome, SetAside
from cds.domain.patient import Demographics
from cds.domain.study import StudyRef

ReportReader = Callable[[str, datetime | None], tuple[Finding, ...]]
"""Report text and when it was known -> the findings that it states, negation understood."""


def no_report_findings(text: str, known_at: datetime | None) -> tuple[Finding, ...]:
    """Return nothing: a `ReportReader` for who does not read findings from text."""
    del text, known_at
    return ()


@dataclass(frozen=True, slots=True, repr=False)
class RecordedCase:
    """One study joined with its record; identifying, so it prints nothing.

    Attributes
    ----------
    patient_namespace, patient_value
        Identifier system and record number that the study's Patient ID stands for.
    film_at
        Aware UTC; the windows lie around it.
    known_at
        Aware UTC time of the latest knowledge that the case uses.
    report_text
        Of the study's final human reports; about other people: never shown unless scrubbed.
    withheld
        Why the case may not enter a library (consent denied, record restricted); None if it may.
    notes
        What is kept encrypted and shown to nobody.
    missing
        Sentences, free of PHI, for what the record could not be asked.

    """

    demographics: Demographics
    study: StudyRef
    patient_namespace: str
    patient_value: str
    film_at: datetime
    known_at: datetime
    age_years: int | None = None
    findings: tuple[Finding, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    history: tuple[HistoryFlag, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    states_at_film: tuple[str, ...] = ()
    report_text: str | None = None
    withheld: str | None = None
    set_aside: tuple[SetAside, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def is_reported(self) -> bool:
        """Tell whether a human has said what the study shows, or what the patient had.

        An unread film is no past case: it would count as one without the finding.
        """
        return bool(self.findings) or self.report_text is not None

    def __repr__(self) -> str:
        return "RecordedCase(<redacted>)"
