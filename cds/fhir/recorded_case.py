"""An archived study and its patient's whole record -> what a library case is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from cds.domain.errors import CdsError, Reason
from cds.domain.film import FilmFacts, film_facts
from cds.domain.identity import check_identity, own_namespace, patient_id_value
from cds.domain.patient import Demographics
from cds.domain.patient_course import AfterFilm, PatientCourse, after_film, latest
from cds.domain.recorded_case import RecordedCase, ReportReader, no_report_findings
from cds.domain.registration import EhrRegistration
from cds.domain.study import StudyRef
from cds.fhir import observation
from cds.fhir.archived_study import (
    identity_of,
    joined_study,
    matching_imaging_study,
    recorded_study,
)
from cds.fhir.clinical_context import RecordResources, clinical_context
from cds.fhir.course import course_of, encounter_of
from cds.fhir.dates import effective_at
from cds.fhir.episode_findings import diagnoses_of_episode, is_of_episode, known_latest, unique
from cds.fhir.patient import demographics_from_patient
from cds.fhir.patient_record import PatientRecord
from cds.fhir.shapes import Resource, reference_id, text
from cds.fhir.study_reports import StudyReport, reports_of_study
from cds.fhir.withholding import why_withheld

if TYPE_CHECKING:
    from cds.domain.archive import ArchivedStudy
    from cds.domain.facts import Finding
    from cds.domain.patient import ClinicalContext

SOURCE = "EHR"
# A value is a feature of the film only if the record knew it within a day of the film: the windows
# reach six hours beyond it, and a laboratory answers within hours.
KNOWN_WITHIN = timedelta(hours=24)
UNDATED = "the study has no date"


@dataclass(frozen=True, slots=True)
class JoinRules:
    """What the join needs to know beside the record.

    Attributes
    ----------
    registration
        Says which identifier system and issuer the Patient ID belongs to.
    read_at
        Aware UTC time of the reading.
    icu_location_ids, kept_events, complete_until, is_partial
        As in `course_of`.
    report_reader
        Reads findings from report text.

    """

    registration: EhrRegistration
    read_at: datetime
    icu_location_ids: frozenset[str] = frozenset()
    kept_events: frozenset[str] = frozenset()
    complete_until: date | None = None
    is_partial: bool = False
    report_reader: ReportReader = no_report_findings


def recorded_case(archived: ArchivedStudy, record: PatientRecord, rules: JoinRules) -> RecordedCase:
    """Join a study with its record.

    Raises
    ------
    CdsError
        IDENTITY_MISMATCH if PACS and record name different patients or studies; UPSTREAM_FAILED if
        the Patient cannot be understood; INVALID_REQUEST if nobody says when the film was taken.

    """
    demographics = demographics_from_patient(record.patient)
    if demographics is None:
        raise CdsError(Reason.UPSTREAM_FAILED, "The EHR's Patient cannot be understood.")
    imaging_study = matching_imaging_study(archived, record.imaging_studies, by_time=True)
    recorded = recorded_study(imaging_study)
    check_identity(identity_of(archived), demographics, recorded, rules.registration)
    study = joined_study(archived, recorded)
    if study.started_at is None:
        raise CdsError(Reason.INVALID_REQUEST, UNDATED)
    return _Join(record, rules, demographics, study, imaging_study, study.started_at).case(
        _namespace(archived, demographics, rules.registration)
    )


@dataclass(frozen=True, slots=True, repr=False)
class _Join:
    record: PatientRecord
    rules: JoinRules
    demographics: Demographics
    study: StudyRef
    imaging_study: Resource | None
    film_at: datetime

    def case(self, patient: tuple[str, str]) -> RecordedCase:
        """Return the case of the patient with this (namespace, record number)."""
        reports = self._reports()
        course = self._course()
        episodes = self._episodes(course)
        after = after_film(
            course, self.film_at, encounter_id=encounter_of(self.imaging_study), source=SOURCE
        )
        context = self._context(episodes)
        facts = film_facts(context, self.study, as_of=self.film_at + KNOWN_WITHIN)
        findings = self._findings(reports, episodes)
        words = "\n\n".join(report.text for report in reports if report.text)
        return RecordedCase(
            demographics=self.demographics,
            study=self.study,
            patient_namespace=patient[0],
            patient_value=patient[1],
            film_at=self.film_at,
            known_at=self._known_at(facts, findings, after, reports),
            age_years=facts.facts.age_years,
            findings=findings,
            measurements=facts.facts.measurements,
            history=facts.history,
            outcomes=after.outcomes,
            states_at_film=after.states_at_film,
            report_text=words or None,
            withheld=why_withheld(
                self.record, self._about_the_study(reports, episodes), now=self.rules.read_at
            ),
            set_aside=context.set_aside,
            notes={"film_at": self.film_at.astimezone(UTC).isoformat()},
            missing=(*context.missing, *self._not_asked()),
        )

    def _reports(self) -> tuple[StudyReport, ...]:
        others = (s for s in self.record.imaging_studies if s is not self.imaging_study)
        return reports_of_study(
            self.study, self.imaging_study, self.record.diagnostic_reports, other_studies=others
        )

    def _course(self) -> PatientCourse:
        return course_of(
            self.record,
            read_at=self.rules.read_at,
            icu_location_ids=self.rules.icu_location_ids,
            kept_events=self.rules.kept_events,
            complete_until=self.rules.complete_until,
            is_partial=self.rules.is_partial,
        )

    def _episodes(self, course: PatientCourse) -> frozenset[str]:
        encounter_id = encounter_of(self.imaging_study)
        stay = course.stay_at(self.film_at, encounter_id=encounter_id)
        named = {encounter_id, stay.encounter_id if stay is not None else None}
        for encounter in self.record.encounters:
            if text(encounter.get("id")) in named:
                named.add(reference_id(encounter.get("partOf"), "Encounter"))
        return frozenset(one for one in named if one is not None)

    def _context(self, episodes: frozenset[str]) -> ClinicalContext:
        """Return the record as it was at the film: the episode's own diagnoses are labels."""
        history = tuple(c for c in self.record.conditions if not is_of_episode(c, episodes))
        return clinical_context(
            self.demographics,
            RecordResources(conditions=history, observations=self.record.observations),
            read_at=self.rules.read_at,
            as_of=self.film_at + KNOWN_WITHIN,
        )

    def _findings(
        self, reports: tuple[StudyReport, ...], episodes: frozenset[str]
    ) -> tuple[Finding, ...]:
        about = [f"DiagnosticReport/{text(r.resource.get('id'))}" for r in reports]
        found = [*diagnoses_of_episode(self.record, episodes, about_the_study=about)]
        for report in reports:
            known_at = report.known_at or self.rules.read_at
            read = (
                *report.findings,
                *(self.rules.report_reader(report.text, known_at) if report.text else ()),
            )
            found += [
                replace(
                    one,
                    proof="report" if one.proof == "unknown" else one.proof,
                    known_at=one.known_at or known_at,
                )
                for one in read
            ]
        return unique(found)

    def _known_at(
        self,
        facts: FilmFacts,
        findings: tuple[Finding, ...],
        after: AfterFilm,
        reports: tuple[StudyReport, ...],
    ) -> datetime:
        used = {m.observed_at for m in facts.facts.measurements}
        values = (
            observation.known_at(o)
            for o in self.record.observations
            if effective_at(o) in used and effective_at(o) is not None
        )
        within = (at for at in values if at is not None and at <= self.film_at + KNOWN_WITHIN)
        told = (r.known_at or self.rules.read_at for r in reports if r.text or r.findings)
        known = latest([self.film_at, known_latest(findings), after.known_at, *within, *told])
        return known or self.film_at

    def _about_the_study(
        self, reports: tuple[StudyReport, ...], episodes: frozenset[str]
    ) -> tuple[Resource, ...]:
        stays = (e for e in self.record.encounters if text(e.get("id")) in episodes)
        own = (self.imaging_study,) if self.imaging_study is not None else ()
        return (*own, *stays, *(r.resource for r in reports))

    def _not_asked(self) -> tuple[str, ...]:
        sentences = [f"{kind}: the EHR did not give it." for kind in sorted(self.record.refused)]
        if self.record.n_foreign:
            sentences.append(f"{self.record.n_foreign} resources about others were left out.")
        return tuple(sentences)


def _namespace(
    archived: ArchivedStudy, demographics: Demographics, registration: EhrRegistration
) -> tuple[str, str]:
    """Return the system and number that name the patient, as a query's own patient is named."""
    number = archived.patient_id_value or patient_id_value(demographics, registration)
    if not number:
        raise CdsError(Reason.IDENTITY_MISMATCH, "Neither side names the patient by a number.")
    if registration.mrn_system is not None:
        return registration.mrn_system, number
    systems = [i.system for i in demographics.identifiers if i.value.strip() == number and i.system]
    named = systems[0] if systems else archived.issuer
    return named or own_namespace(registration.ehr_id), number
