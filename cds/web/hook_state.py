"""What a hook call found -> what the silence table asks, and how a shown card is remembered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cds.domain.errors import Reason
from cds.domain.registration import EhrRegistration, Stage
from cds.domain.report import AnswerState, Priority
from cds.domain.silence import (
    Assessment,
    CardKind,
    SilenceOptions,
    SilenceState,
    is_fresh,
    is_on_problem_list,
    is_recent,
    silence_table,
)
from cds.domain.study import ReportState, StudyRef
from cds.hooks.from_report import CardSubject
from cds.web.engine_surface import HookAnalysis, MachineEngine

# Lowest first; "shown before" holds for the same or a higher priority than now.
PRIORITY_RANKS = (
    Priority.NOT_ASSESSED,
    Priority.NONE,
    Priority.ROUTINE,
    Priority.PROMPT,
    Priority.IMMEDIATE,
)
_ASSESSMENT_OF = {
    Reason.IDENTITY_MISMATCH: Assessment.IDENTITY_MISMATCH,
    Reason.UPSTREAM_FAILED: Assessment.UPSTREAM_DOWN,
    Reason.DEADLINE: Assessment.PENDING,
}


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom, and when, a call is answered."""

    registration: EhrRegistration
    user_ref: str
    now: datetime

    @property
    def user_type(self) -> str:
        """Return the resource type of the user."""
        return self.user_ref.partition("/")[0]


def silence_options(registration: EhrRegistration) -> SilenceOptions:
    """Return what this EHR chose; one choice covers both information cards, ready and pending."""
    return SilenceOptions(
        ready_card=registration.ready_card,
        pending_card=registration.ready_card,
        lookback=timedelta(hours=registration.lookback_hours),
    )


def failure_reason(analysis: HookAnalysis) -> Reason | None:
    """Return why the study was not compared, or None."""
    if analysis.failure is not None:
        return analysis.failure.reason
    report = analysis.report
    if report is None or report.state is not AnswerState.NOT_ASSESSED:
        return None
    known = {reason.value for reason in Reason}
    given = report.not_assessed_reason
    return Reason(given) if given in known else Reason.IMAGE_UNSUPPORTED


def assessment_of(analysis: HookAnalysis) -> Assessment | None:
    """Return how far the comparison came, or None if none was wanted."""
    if analysis.is_pending:
        return Assessment.PENDING
    reason = failure_reason(analysis)
    if reason is not None:
        return _ASSESSMENT_OF.get(reason, Assessment.NOT_ASSESSED)
    return None if analysis.report is None else Assessment.READY


def silence_state(analysis: HookAnalysis, caller: Caller, options: SilenceOptions) -> SilenceState:
    """Return what the silence table asks about a call.

    An unreported study that nobody tried to compare (image module off) is of no supported kind.
    """
    study, assessment = analysis.study, assessment_of(analysis)
    report_state = ReportState.NONE if study is None else study.report_state
    is_wanted = assessment is not None or report_state is not ReportState.NONE
    history = analysis.context.history
    return SilenceState(
        user_type=caller.user_type,
        has_recent_study=is_wanted
        and study is not None
        and is_recent(study, as_of=caller.now, options=options),
        report_state=report_state,
        assessment=assessment or Assessment.READY,
        is_fresh=study is not None and is_fresh(study, as_of=caller.now),
        is_on_problem_list=analysis.report is not None
        and is_on_problem_list(analysis.report, history),
        is_silent=caller.registration.stage is Stage.SILENT,
    )


def card_subject(
    engine: MachineEngine,
    analysis: HookAnalysis,
    study: StudyRef,
    caller: Caller,
    *,
    outage_since: datetime | None,
) -> CardSubject:
    """Return what a card about this analysis speaks about."""
    report = analysis.report
    return CardSubject(
        registration=caller.registration,
        study=study,
        now=caller.now,
        data_at=analysis.context.read_at,
        public_url=engine.settings.public_url,
        library_name=engine.settings.library_name if report is None else report.library_name,
        report=report,
        failure_reason=failure_reason(analysis),
        outage_since=outage_since,
        missing=analysis.context.missing,
    )


def user_key(engine: MachineEngine, caller: Caller) -> str:
    """Return the keyed hash under which a user is remembered."""
    return engine.keys.patient_key(f"{caller.registration.ehr_id}/user", caller.user_ref)


def patient_key(engine: MachineEngine, caller: Caller, patient_id: str) -> str:
    """Return the keyed hash of a patient for the audit trail."""
    return engine.keys.patient_key(caller.registration.ehr_id, patient_id)


def shown_keys(
    engine: MachineEngine,
    analysis: HookAnalysis,
    kind: CardKind,
    *,
    caller: Caller,
    outage_since: datetime | None,
) -> tuple[str, ...]:
    """Return the keys under which this card counts as shown: first its own, then higher priorities.

    Parameters
    ----------
    kind
        Of the card; its row says whether it is remembered by study or by outage.
    outage_since
        Beginning of the outage, for a card that is shown once per outage.

    """
    row = next(row for row in silence_table() if row.kind is kind)
    namespace = f"{caller.registration.ehr_id}/card"
    if row.once == "outage" and outage_since is not None:
        return (engine.keys.patient_key(namespace, f"outage|{outage_since.isoformat()}"),)
    study = analysis.study
    named = "none" if study is None else f"{study.study_instance_uid}|{study.accession_number}"
    priority = Priority.NOT_ASSESSED if analysis.report is None else analysis.report.priority
    ranks = range(PRIORITY_RANKS.index(priority), len(PRIORITY_RANKS))
    return tuple(
        engine.keys.patient_key(namespace, f"{kind.value}|{named}|{rank}") for rank in ranks
    )
