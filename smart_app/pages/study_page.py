"""What the study page shows, worked out before rendering; sentences are the report's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from cds.domain import wording
from cds.domain.errors import Reason
from cds.domain.launch import LaunchAnalysis
from cds.domain.patient import Demographics
from cds.domain.registration import EhrRegistration
from cds.domain.report import AnswerState, CaseReport, FindingStatement, Neighbor, Priority
from cds.domain.study import ReportState, StudyRef
from smart_app.pages.match_card import MatchCard, match_card

N_OPEN_FINDINGS = 4  # with the matches still in view below them
N_OPEN_CARDS = 6  # the rest is one click away

# Refused for these, the picture itself was read and is the patient's; for every other reason it may
# be another patient's, or there is none that could be shown.
PICTURE_IN_SPITE_OF = frozenset(
    reason.value for reason in (Reason.MODEL_UNAVAILABLE, Reason.INDEX_UNAVAILABLE)
)
WHAT_TO_DO = {
    Reason.IDENTITY_MISMATCH.value: (
        "No picture is shown, because it may belong to another patient. Tell the PACS team."
    ),
    Reason.IMAGE_UNREADABLE.value: (
        "The file cannot be read as a picture. Look at the study in the PACS; "
        "if it opens there, tell the operator of Precedent."
    ),
    Reason.IMAGE_UNSUPPORTED.value: "This kind of study is not compared. Read in normal order.",
    Reason.NO_IMAGING.value: "The PACS does not hold this study. Read in normal order.",
    Reason.UPSTREAM_FAILED.value: (
        "Pictures cannot be fetched at the moment. Read in normal order, and try again later."
    ),
    Reason.UPSTREAM_REFUSED.value: (
        "The PACS refused access to this study. Ask your PACS administrator."
    ),
    Reason.EGRESS_REFUSED.value: (
        "The address of these pictures is not registered. Tell your EHR administrator."
    ),
    Reason.MODEL_UNAVAILABLE.value: "Tell the operator of Precedent. Read in normal order.",
    Reason.INDEX_UNAVAILABLE.value: "Tell the operator of Precedent. Read in normal order.",
}
REPORT_STATES = {
    ReportState.NONE: "Not yet reported",
    ReportState.PRELIMINARY: "A preliminary radiology report exists: read it first.",
    ReportState.FINAL: "A final radiology report exists. The report applies.",
}
PRIORITY_ICONS = {
    Priority.IMMEDIATE: "!!",
    Priority.PROMPT: "!",
    Priority.ROUTINE: "\u21bb",
    Priority.NONE: "\u2013",
    Priority.NOT_ASSESSED: "?",
}
HEADLINES = {
    AnswerState.COMPARED: "Before you read on",
    AnswerState.NOTHING_COMPARABLE: "Nothing comparable",
    AnswerState.NOT_ASSESSED: "Not assessed",
}
ALREADY_IN_LIBRARY = (
    "This picture, or one almost identical to it, is in the library already; "
    "it was left out of the comparison."
)


@dataclass(frozen=True, slots=True, repr=False)
class PatientBanner:
    """Whose chart this is, in words."""

    name: str
    born: str
    sex: str
    record_number: str

    def __repr__(self) -> str:
        return "PatientBanner(<redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class StudyLine:
    """Which study, in words; `key` stands for it in addresses."""

    key: str
    label: str
    when: str
    modality: str
    body_part: str
    accession: str
    report_state: str
    is_reported: bool
    is_current: bool = False

    def __repr__(self) -> str:
        return f"StudyLine({self.modality}, <redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class StudyPage:
    """Everything that the template prints."""

    patient: PatientBanner
    study: StudyLine | None
    choices: tuple[StudyLine, ...]
    report: CaseReport | None
    cards: tuple[MatchCard, ...]
    more_cards: tuple[MatchCard, ...]
    headline: str
    notices: tuple[str, ...]
    findings: tuple[FindingStatement, ...]
    more_findings: tuple[FindingStatement, ...]
    may_choose_weights: bool
    too_few: str | None
    what_to_do: str | None
    shows_query_picture: bool
    priority_icon: str
    computed_at: str
    data_at: str
    missing: tuple[str, ...]
    not_used: tuple[str, ...]

    def __repr__(self) -> str:
        return "StudyPage(<redacted>)"


def study_page(
    analysis: LaunchAnalysis,
    registration: EhrRegistration,
    *,
    study_key: Callable[[StudyRef], str],
) -> StudyPage:
    """Work out what the page shows.

    Parameters
    ----------
    analysis
        The engine's answer.
    registration
        Names the time zone and the identifier system of record numbers.
    study_key
        Opaque text that stands for a study in an address.

    """
    zone = ZoneInfo(registration.time_zone)
    report = analysis.report
    cards = _cards(report)
    lines = tuple(
        _study_line(study, zone, key=study_key(study), is_current=study == analysis.study)
        for study in analysis.studies
    )
    return StudyPage(
        patient=_patient_banner(analysis.context.demographics, registration.mrn_system),
        study=None
        if analysis.study is None
        else _study_line(analysis.study, zone, key=study_key(analysis.study), is_current=True),
        choices=lines,
        report=report,
        cards=cards[0],
        more_cards=cards[1],
        headline=HEADLINES[report.state] if report else "",
        notices=_notices(report),
        findings=report.findings[:N_OPEN_FINDINGS] if report else (),
        more_findings=report.findings[N_OPEN_FINDINGS:] if report else (),
        may_choose_weights=report is not None and report.state is not AnswerState.NOT_ASSESSED,
        too_few=_too_few(report),
        what_to_do=WHAT_TO_DO.get(report.not_assessed_reason or "") if report else None,
        shows_query_picture=report is not None and shows_query_picture(report),
        priority_icon=PRIORITY_ICONS[report.priority] if report else "",
        computed_at=time_text(report.created_at, zone) if report else "",
        data_at=time_text(analysis.context.read_at, zone),
        missing=analysis.context.missing,
        not_used=wording.missing_sentences(report.inputs_missing) if report else (),
    )


def time_text(moment: datetime, zone: ZoneInfo) -> str:
    """Return date and time in the EHR's zone, the zone named.

    Examples
    --------
    >>> from datetime import UTC
    >>> time_text(datetime(2026, 11, 12, 5, 41, tzinfo=UTC), ZoneInfo("Europe/Berlin"))
    '12 Nov 2026 06:41 CET'

    """
    return f"{moment.astimezone(zone):%-d %b %Y %H:%M %Z}"


def picture_keys(report: CaseReport) -> frozenset[tuple[str, str]]:
    """Return which library pictures a page of this report shows."""
    return frozenset(
        (neighbor.case_id, neighbor.picture_id)
        for neighbor in report.neighbors
        if neighbor.picture_id is not None
    )


def shows_query_picture(report: CaseReport) -> bool:
    """Tell whether the query's own picture may stand on the page."""
    reason = report.not_assessed_reason
    return reason is None or reason in PICTURE_IN_SPITE_OF


def _cards(report: CaseReport | None) -> tuple[tuple[MatchCard, ...], tuple[MatchCard, ...]]:
    """Return the open cards, the counter-example always among them, and the folded rest."""
    neighbors = report.neighbors if report else ()
    open_ones = list(neighbors[:N_OPEN_CARDS])
    if not any(n.is_counter_example for n in open_ones):
        open_ones += [n for n in neighbors[N_OPEN_CARDS:] if n.is_counter_example]
    kept = {n.rank for n in open_ones}
    rest: list[Neighbor] = [n for n in neighbors if n.rank not in kept]
    return tuple(map(match_card, open_ones)), tuple(map(match_card, rest))


def _patient_banner(who: Demographics, mrn_system: str | None) -> PatientBanner:
    numbers: Mapping[bool, str] = {
        i.system == mrn_system: i.value for i in reversed(who.identifiers) if i.value
    }
    return PatientBanner(
        name=who.display_name or "Name not recorded",
        born=str(who.birth_on) if who.birth_on else "not recorded",
        sex=who.sex,
        record_number=numbers.get(True) or numbers.get(False) or "not recorded",
    )


def _study_line(study: StudyRef, zone: ZoneInfo, *, key: str, is_current: bool) -> StudyLine:
    return StudyLine(
        key=key,
        label=study.description or study.label,
        when=time_text(study.started_at, zone) if study.started_at else "time not recorded",
        modality=study.modality or "not recorded",
        body_part=(study.body_part or "not recorded").capitalize(),
        accession=study.accession_number or "not recorded",
        report_state=REPORT_STATES[study.report_state],
        is_reported=study.report_state is not ReportState.NONE,
        is_current=is_current,
    )


def _notices(report: CaseReport | None) -> tuple[str, ...]:
    if report is None:
        return ()
    found = [report.abstention, report.composition_guard]
    if report.already_in_library:
        found.append(ALREADY_IN_LIBRARY)
    return tuple(text for text in found if text)


def _too_few(report: CaseReport | None) -> str | None:
    if report is None or not report.neighbors or report.n_neighbors >= wording.MIN_PATIENTS:
        return None
    return wording.too_few_sentence(report.n_neighbors)
