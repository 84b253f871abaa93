"""One answer -> one card: aggregates only, and no finding named (a reader looks first)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from cds.domain import wording
from cds.domain.errors import Reason
from cds.domain.local_time import date_time_text, time_text
from cds.domain.registration import EhrRegistration, Stage
from cds.domain.report import AnswerState, CaseReport
from cds.domain.silence import CardKind, silence_row, silence_table
from cds.domain.study import StudyRef
from cds.hooks.card import Card, CardCoding, Indicator, Link, LinkType, Source
from cds.hooks.display_text import DisplayText, plain_study_label

TOPIC_SYSTEM = "https://precedent.example.invalid/CodeSystem/card-topic"
OVERRIDE_SYSTEM = "https://precedent.example.invalid/CodeSystem/override-reason"
TOPIC = CardCoding("similar-cases", TOPIC_SYSTEM, "Similar past cases (investigational)")
OVERRIDE_REASONS = (
    CardCoding("read-already", OVERRIDE_SYSTEM, "The study has been read already"),
    CardCoding("not-relevant", OVERRIDE_SYSTEM, "Not relevant for this patient now"),
    CardCoding("does-not-agree", OVERRIDE_SYSTEM, "Does not agree with my reading"),
    CardCoding("wrong-study", OVERRIDE_SYSTEM, "Wrong study or wrong patient"),
)
LINK_LABEL = "Open similar past cases"
NO_FINDING_NAMED = (
    "This card names no finding. The matched cases, how they were chosen and what is not known "
    "are one click away in the app."
)
INTENDED_USE = (
    "For clinicians who treat this patient. Not validated for care at this site; do not delay "
    "reading, treatment or an urgent investigation for it."
)
_WHY = {
    Reason.IMAGE_UNSUPPORTED: "image type not supported",
    Reason.AGE_UNSUPPORTED: "patient under 18",
    Reason.IMAGE_UNREADABLE: "image could not be read",
    Reason.NO_IMAGING: "no image found",
    Reason.MODEL_UNAVAILABLE: "image model not available",
    Reason.INDEX_UNAVAILABLE: "case library not available",
    Reason.STORAGE_UNAVAILABLE: "database not available",
    Reason.UPSTREAM_REFUSED: "no access to the images",
    Reason.NOT_AUTHORIZED: "no access to the images",
    Reason.EGRESS_REFUSED: "image address not registered",
}
_WHY_OTHER = "comparison not possible"


@dataclass(frozen=True, slots=True, repr=False)
class CardSubject:
    """What a card speaks about.

    Attributes
    ----------
    report
        None where the study could not be analysed.
    failure_reason
        Why it could not, where that is known.
    data_at
        Aware UTC time at which the record was read.
    now
        Aware UTC time of the call.
    outage_since
        Since when pictures cannot be reached, for an outage card.
    public_url
        Base URL of the app as seen from outside.

    """

    registration: EhrRegistration
    study: StudyRef
    now: datetime
    data_at: datetime
    public_url: str
    library_name: str
    report: CaseReport | None = None
    failure_reason: Reason | None = None
    outage_since: datetime | None = None
    missing: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "CardSubject(<redacted>)"


def card_from_subject(kind: CardKind, subject: CardSubject, *, card_uuid: str) -> Card:
    """Return the card that says `kind` about `subject`.

    Parameters
    ----------
    kind
        A kind of the silence table that is in force.
    subject
        The study and what became of it.
    card_uuid
        UUID that feedback refers to.

    Raises
    ------
    ValueError
        If `kind` has no sentence yet, or lacks what its sentence needs.

    References
    ----------
    CLINICAL 1.2 and 2.2; CDS Hooks 2.0.1, Card Attributes.

    """
    row = next(row for row in silence_table() if row.kind is kind)
    return Card(
        uuid=card_uuid,
        summary=_summary(kind, subject),
        indicator=Indicator(silence_row(row.number).indicator or "info"),
        source=Source(label=source_label(subject.registration), topic=TOPIC),
        detail=_detail(kind, subject),
        links=(_smart_link(subject),),
        override_reasons=OVERRIDE_REASONS,
    )


def source_label(registration: EhrRegistration) -> str:
    """Return the department that answers for the card; a sandbox is visibly a test."""
    label = registration.department_label
    return f"{label} TEST" if registration.stage is Stage.SANDBOX else label


def why_phrase(reason: Reason | None) -> str:
    """Return the short phrase of row 11."""
    return _WHY_OTHER if reason is None else _WHY.get(reason, _WHY_OTHER)


def _summary(kind: CardKind, subject: CardSubject) -> str:
    label = plain_study_label(subject.study)
    at = _short_time(subject.study.started_at, subject)
    if kind is CardKind.READY and subject.report is not None:
        if subject.report.state is AnswerState.NOTHING_COMPARABLE:
            return wording.nothing_comparable_summary(label, at)
        return wording.ready_card_summary(label, at, subject.report.n_neighbors)
    if kind is CardKind.PENDING:
        return wording.pending_summary(label, at)
    if kind is CardKind.NOT_ASSESSED:
        return wording.not_assessed_summary(label, at, why_phrase(subject.failure_reason))
    if kind is CardKind.IDENTITY:
        return wording.identity_summary(label, at)
    if kind is CardKind.OUTAGE:
        return wording.outage_summary(label, at, _short_time(subject.outage_since, subject))
    raise ValueError(f"no sentence for a card of kind {kind.value}")


def _short_time(moment: datetime | None, subject: CardSubject) -> str:
    return time_text(moment, now=subject.now, time_zone=subject.registration.time_zone)


def _detail(kind: CardKind, subject: CardSubject) -> str:
    zone = subject.registration.time_zone
    lines = [
        f"**{_escaped(wording.header(subject.library_name))}**",
        _escaped(stage_line(subject.registration)),
        _escaped(f"Study: {study_line(subject.study, time_zone=zone)}"),
    ]
    if kind is CardKind.READY and subject.report is not None:
        lines += _comparison_lines(subject.report)
    lines += [_escaped(sentence) for sentence in wording.missing_sentences(_missing(subject))]
    lines.append(_escaped(f"Record read: {date_time_text(subject.data_at, time_zone=zone)}."))
    lines += [_escaped(NO_FINDING_NAMED), _escaped(INTENDED_USE)]
    return "\n\n".join(lines)


def study_line(study: StudyRef, *, time_zone: str) -> str:
    """Return date, modality and body part of the study (SAFETY R-ID-2).

    Examples
    --------
    >>> study_line(StudyRef(accession_number="A1", modality="DX"), time_zone="UTC")
    'Film, time not recorded, modality DX, body part not recorded.'

    """
    at = date_time_text(study.started_at, time_zone=time_zone)
    modality = study.modality or "not recorded"
    body_part = study.body_part or "not recorded"
    return f"{plain_study_label(study)}, {at}, modality {modality}, body part {body_part}."


def stage_line(registration: EhrRegistration) -> str:
    """Return the stage of use, with the protocol number of a research use (SAFETY R-FDA-1)."""
    protocol = registration.protocol_number
    named = f", protocol {protocol}" if protocol is not None else ""
    return f"Stage of use: {registration.stage.value}{named}."


def _comparison_lines(report: CaseReport) -> list[str]:
    if report.state is AnswerState.NOTHING_COMPARABLE:
        return [_escaped(report.abstention or wording.READ_IN_ORDER)]
    slices = [report.compared_part] if report.compared_part else []
    picture, record = wording.percent(report.image_weight), wording.percent(report.record_weight)
    n = wording.count_text(report.n_neighbors, is_exported=True)
    n_eligible = wording.count_text(report.n_eligible, is_exported=True)
    n_library = wording.count_text(report.n_library_patients, is_exported=True)
    # No review priority here: physiology raises a place in the reading list, never a ward card, and
    # a card that is silent on it only then would tell.
    return [
        _escaped(
            f"Compared: picture (weight {picture}) and age, sex, laboratory values and vital signs "
            f"(weight {record}). Matched: {n} past patients, the most similar of {n_eligible} "
            f"eligible; the library holds {n_library}. One study per past patient."
        ),
        *map(_escaped, slices),
    ]


def _missing(subject: CardSubject) -> tuple[str, ...]:
    return subject.missing if subject.report is None else subject.report.inputs_missing


def _smart_link(subject: CardSubject) -> Link:
    report = subject.report
    context = {
        "study": subject.study.study_instance_uid,
        "accession": subject.study.accession_number,
        "report": None if report is None else report.report_id,
    }
    given = {key: value for key, value in context.items() if value is not None}
    return Link(
        label=LINK_LABEL,
        url=f"{subject.public_url.rstrip('/')}/launch",
        type=LinkType.SMART,
        app_context=json.dumps(given, separators=(",", ":")),
    )


def _escaped(text: str) -> DisplayText:
    return DisplayText.escaped(text)
