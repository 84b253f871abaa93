"""From an access right to an answer: read the record, bind the pictures, compare, keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from cds.domain import wording
from cds.domain.answer import Setting, again, input_hash, not_assessed_report
from cds.domain.errors import CdsError, Reason
from cds.domain.film import FilmFacts, film_facts
from cds.domain.fitness import SUPPORTED_MODALITIES
from cds.domain.generation import IndexPassport
from cds.domain.identity import check_identity
from cds.domain.launch import LaunchAnalysis, StudyHint
from cds.domain.patient import ClinicalContext
from cds.domain.pixels import PixelFrame
from cds.domain.query import BlockWeights, CaseQuery
from cds.domain.registration import Stage
from cds.domain.report import CaseReport, ReportVersions
from cds.domain.study import ReportState, StudyRef
from cds.kept_answers import KeptAnswers, without_rejected
from cds.pipeline import Tools, compare
from cds.ports import (
    AuditEvent,
    AuditTrail,
    Clock,
    Deadline,
    FhirAccess,
    FhirReader,
    ImageSource,
    ResultStore,
)

NO_GENERATION = "none"
ARRIVAL = "arrival"  # the reason of a query that nobody asked for


@dataclass(frozen=True, slots=True)
class HookAnalysis:
    """What a hook call found out in time.

    Attributes
    ----------
    study
        The newest supported study within the site's look-back, or None.
    report
        None if there was nothing to compare (no study, or a human report exists already).
    failure
        Why the study could not be assessed.
    is_pending
        The deadline came first; nothing was decided.

    """

    context: ClinicalContext
    study: StudyRef | None = None
    report: CaseReport | None = None
    failure: CdsError | None = None
    is_pending: bool = False


@dataclass(frozen=True, slots=True)
class AnalysisPorts:
    """What an analysis needs beside the comparison itself.

    Attributes
    ----------
    kept
        Serves answers again without fetching pictures; None fetches them for every answer.

    """

    reader: FhirReader
    images: ImageSource
    results: ResultStore
    audit: AuditTrail
    clock: Clock
    kept: KeptAnswers | None = None


@dataclass(frozen=True, slots=True)
class AnalysisDefaults:
    """What holds for every analysis of this installation."""

    software: str
    library_name: str
    cutoff: int
    weights: BlockWeights
    image_module: bool = True


class Analyst:
    """Answers for each door; holds no state of its own.

    Parameters
    ----------
    ports, tools
        Outside systems, and the comparison's own ports.
    passport
        Returns the passport of the current index generation, or raises INDEX_UNAVAILABLE.
    defaults
        What holds for every analysis.

    """

    def __init__(
        self,
        *,
        ports: AnalysisPorts,
        tools: Tools,
        passport: Callable[[], IndexPassport],
        defaults: AnalysisDefaults,
    ) -> None:
        self._ports = ports
        self._tools = tools
        self._passport = passport
        self._defaults = defaults

    def for_hook(
        self,
        access: FhirAccess,
        *,
        prefetch: Mapping[str, Any] | None,
        deadline: Deadline,
        as_of: datetime,
    ) -> HookAnalysis:
        """Analyse the newest study for a hook.

        Raises
        ------
        CdsError
            What `FhirReader.read_context` raises; nothing after the record was read.

        """
        context = self._ports.reader.read_context(
            access, prefetch=prefetch, deadline=deadline, as_of=as_of
        )
        lookback = timedelta(hours=access.registration.lookback_hours)
        study = newest_supported(context.studies, not_before=as_of - lookback)
        is_wanted = study is not None and study.report_state is ReportState.NONE
        if study is None or not is_wanted or not self._images_allowed(access):
            return HookAnalysis(context, study)
        query = self._query(access, context, study, "hook", as_of)
        try:
            report, failure = self._answer(access, query, deadline)
        except CdsError as error:
            return HookAnalysis(context, study, failure=error, is_pending=True)
        return HookAnalysis(context, study, report, failure)

    def for_launch(
        self,
        access: FhirAccess,
        *,
        study_hint: StudyHint | None,
        weights: BlockWeights | None,
        deadline: Deadline,
    ) -> LaunchAnalysis:
        """Analyse the study that a launch is about; without one the app offers the choice.

        Raises
        ------
        CdsError
            What `FhirReader.read_context` raises; DEADLINE if the pictures took too long.

        """
        as_of = self._ports.clock.now()
        context = self._ports.reader.read_context(
            access, prefetch=None, deadline=deadline, as_of=as_of
        )
        study = chosen_study(context.studies, study_hint)
        if study is None:
            return LaunchAnalysis(context, context.studies)
        query = self._query(access, context, study, "launch", as_of)
        query = replace(query, weights=weights or self._defaults.weights)
        report, failure = self._answer(access, query, deadline)
        return LaunchAnalysis(context, context.studies, study, report, failure)

    def for_arrival(
        self, access: FhirAccess, *, hint: StudyHint, deadline: Deadline
    ) -> HookAnalysis:
        """Analyse a study that arrived, with our own token, before anyone asks.

        Raises
        ------
        CdsError
            NO_IMAGING if the record does not list the study; what `FhirReader.read_context`
            raises; DEADLINE.

        """
        as_of = self._ports.clock.now()
        context = self._ports.reader.read_context(
            access, prefetch=None, deadline=deadline, as_of=as_of
        )
        study = chosen_study(context.studies, hint)
        if study is None:
            raise CdsError(Reason.NO_IMAGING, "The record does not list the study that arrived.")
        if study.report_state is not ReportState.NONE or not self._images_allowed(access):
            return HookAnalysis(context, study)
        query = self._query(access, context, study, ARRIVAL, as_of)
        report, failure = self._answer(access, query, deadline)
        return HookAnalysis(context, study, report, failure)

    def newest_study(self, access: FhirAccess, *, deadline: Deadline) -> StudyRef | None:
        """Return the newest study that a hook would be about; CdsError as `read_context`."""
        as_of = self._ports.clock.now()
        context = self._ports.reader.read_context(
            access, prefetch=None, deadline=deadline, as_of=as_of
        )
        lookback = timedelta(hours=access.registration.lookback_hours)
        return newest_supported(context.studies, not_before=as_of - lookback)

    def for_pictures(self, query: CaseQuery, *, stage: Stage = Stage.SILENT) -> CaseReport:
        """Compare pictures that the caller already has, for the command line and uploads.

        Parameters
        ----------
        query
            With frames; what the caller knows of the record.
        stage
            Of the EHR that asks; without one silent, the default with real data (R-FDA-1).

        Raises
        ------
        CdsError
            What `cds.pipeline.compare` raises.

        """
        film = film_facts(query.context, query.study, as_of=query.as_of)
        return compare(query, film, self._setting(stage.value), self._tools)

    def frames_of(
        self, access: FhirAccess, context: ClinicalContext, study: StudyRef, deadline: Deadline
    ) -> tuple[PixelFrame, ...]:
        """Fetch a study's frames and bind them to the patient.

        Raises
        ------
        CdsError
            IDENTITY_MISMATCH, after an audit record; what `ImageSource.retrieve_frames` raises.

        """
        if not self._images_allowed(access):
            raise CdsError(Reason.IMAGE_UNSUPPORTED, "The image module is switched off.")
        frames = self._ports.images.retrieve_frames(
            access,
            study,
            patient_id_value=record_number(context, access.registration.mrn_system),
            deadline=deadline,
        )
        try:
            for frame in frames:
                check_identity(frame.identity, context.demographics, study, access.registration)
        except CdsError as error:
            self._audit_refusal(access, study, error)
            raise
        return frames

    def _answer(
        self, access: FhirAccess, query: CaseQuery, deadline: Deadline
    ) -> tuple[CaseReport, CdsError | None]:
        """Return a kept answer, with the failure if any; a missed deadline is raised."""
        film = film_facts(query.context, query.study, as_of=query.as_of)
        setting = self._setting(access.registration.stage.value)
        failure: CdsError | None = None
        try:
            report = self._compared(access, query, film, setting, deadline)
        except CdsError as error:
            if error.reason is Reason.DEADLINE:
                raise
            failure = error
            report = not_assessed_report(query, film, error, setting)
        self._ports.results.save(report, requested_by=query.reason)
        if self._ports.kept is not None and query.reason != ARRIVAL:
            self._ports.kept.mark_opened(report)
        return report, failure

    def _compared(
        self,
        access: FhirAccess,
        query: CaseQuery,
        film: FilmFacts,
        setting: Setting,
        deadline: Deadline,
    ) -> CaseReport:
        if query.context is None or query.study is None:
            raise CdsError(Reason.MISSING_CONTEXT, "There is no record to bind the picture to.")
        kept, inventory = self._ports.kept, None
        record_hash = input_hash(query, film, setting)
        if kept is not None and query.study.study_instance_uid is not None:
            inventory = kept.look(access, query.context, query.study, deadline)
            standing = kept.standing(query.ehr_id, record_hash, inventory)
            if standing is not None:
                return standing
        frames = self.frames_of(access, query.context, query.study, deadline)
        query = replace(query, frames=without_rejected(frames, inventory))
        digest = input_hash(query, film, setting)
        report = self._ports.results.by_input_hash(query.ehr_id, digest)
        if report is None:
            report = compare(query, film, setting, self._tools)
            if kept is not None:
                report = again(report, kept.n_withdrawn(query.ehr_id, digest))
        if kept is not None and inventory is not None:
            is_precomputed = query.reason == ARRIVAL
            kept.bind(report, record_hash, inventory, is_precomputed=is_precomputed)
        return report

    def _query(
        self,
        access: FhirAccess,
        context: ClinicalContext,
        study: StudyRef,
        reason: str,
        as_of: datetime,
    ) -> CaseQuery:
        return CaseQuery(
            ehr_id=access.registration.ehr_id,
            reason=reason,
            as_of=as_of,
            context=context,
            study=study,
            weights=self._defaults.weights,
            cutoff=self._defaults.cutoff,
        )

    def _setting(self, stage: str) -> Setting:
        try:
            passport = self._passport()
            generation, library_name = passport.generation_id, passport.library_name
        except CdsError:
            generation, library_name = NO_GENERATION, self._defaults.library_name
        return Setting(
            created_at=self._ports.clock.now(),
            stage=stage,
            library_name=library_name,
            versions=ReportVersions(
                software=self._defaults.software,
                encoder_name=self._tools.embedder.encoder_name,
                encoder_hash=self._tools.embedder.encoder_hash,
                index_generation=generation,
                wording=wording.WORDING_VERSION,
            ),
        )

    def _images_allowed(self, access: FhirAccess) -> bool:
        return self._defaults.image_module and access.registration.image_module

    def _audit_refusal(self, access: FhirAccess, study: StudyRef, error: CdsError) -> None:
        uid = study.study_instance_uid
        self._ports.audit.record(
            AuditEvent(
                ehr_id=access.registration.ehr_id,
                action="identity.mismatch",
                outcome=error.reason.value,
                patient_key=self._tools.keys.patient_key(
                    access.registration.ehr_id, access.patient_id
                ),
                entity=self._tools.keys.study_key(uid) if uid else None,
                detail=", ".join(f"{k}={v}" for k, v in sorted(error.facts.items())) or None,
            )
        )


def newest_supported(studies: tuple[StudyRef, ...], *, not_before: datetime) -> StudyRef | None:
    """Return the newest study of a supported kind that started since `not_before`, or None."""
    recent = [
        study
        for study in studies
        if study.started_at is not None
        and study.started_at >= not_before
        and study.modality in SUPPORTED_MODALITIES
    ]
    return max(recent, key=lambda study: study.started_at or not_before, default=None)


def chosen_study(studies: tuple[StudyRef, ...], hint: StudyHint | None) -> StudyRef | None:
    """Return the study that the hint names; without a hint the only one, if there is only one.

    None means that the user chooses: another study than the one meant is never taken silently.
    """
    if hint is None:
        return studies[0] if len(studies) == 1 else None
    return next((study for study in studies if hint.names(study)), None)


def record_number(context: ClinicalContext, mrn_system: str | None) -> str | None:
    """Return the record number that DICOM's Patient ID should hold, or None."""
    identifiers = context.demographics.identifiers
    preferred = [i for i in identifiers if mrn_system is not None and i.system == mrn_system]
    typed = [i for i in identifiers if i.type_code == "MR"]
    return next((i.value for i in (*preferred, *typed)), None)
