"""What the study page shows, worked out before rendering; sentences are the report's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from cds.domain.errors import Reason
from cds.domain.launch import LaunchAnalysis
from cds.domain.patient import Demographics
from cds.domain.registration import EhrRegistration
from cds.domain.report import AnswerState, CaseReport, Priority
from cds.domain.study import ReportState, StudyRef
from smart_app.pages.answer_parts import AnswerParts, answer_parts, time_text

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
    Reason.AGE_UNSUPPORTED.value: "Children are not compared. Read in normal order.",
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
    Reason.STORAGE_UNAVAILABLE.value: "Read in normal order, and try again in a minute.",
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
    answer: AnswerParts | None
    may_choose_weights: bool
    what_to_do: str | None
    shows_query_picture: bool
    priority_icon: str
    data_at: str
    missing: tuple[str, ...]

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
        answer=answer_parts(report, zone) if report else None,
        may_choose_weights=report is not None and report.state is not AnswerState.NOT_ASSESSED,
        what_to_do=WHAT_TO_DO.get(report.not_assessed_reason or "") if report else None,
        shows_query_picture=report is not None and shows_query_picture(report),
        priority_icon=PRIORITY_ICONS[report.priority] if report else "",
        data_at=time_text(analysis.context.read_at, zone),
        missing=analysis.context.missing,
    )


def shows_query_picture(report: CaseReport) -> bool:
    """Tell whether the query's own picture may stand on the page."""
    reason = report.not_assessed_reason
    return reason is None or reason in PICTURE_IN_SPITE_OF


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
