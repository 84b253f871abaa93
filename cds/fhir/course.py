"""Encounters, procedures, conditions and values of one patient -> the course after a film."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING

from cds.domain.follow_up import event_terms
from cds.domain.patient_course import CourseEvent, HospitalStay, PatientCourse, latest
from cds.fhir import condition, observation
from cds.fhir.dates import day, effective_at, moment
from cds.fhir.shapes import codings, concept_text, has_code, items, mapping, reference_id, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cds.fhir.patient_record import PatientRecord
    from cds.fhir.shapes import Resource

# http://terminology.hl7.org/CodeSystem/v3-ActCode: what brings a person into the house.
STAY_CLASSES = frozenset({"IMP", "ACUTE", "NONAC", "EMER", "OBSENC", "SS"})
_NOT_YET = frozenset({"planned", "cancelled", "entered-in-error", "unknown"})
_DONE = frozenset({"completed", "in-progress", "stopped"})  # Procedure.status: it was begun
_DIED = ("exp",)  # Encounter.hospitalization.dischargeDisposition


def course_of(
    record: PatientRecord,
    *,
    read_at: datetime,
    icu_location_ids: frozenset[str] = frozenset(),
    kept_events: frozenset[str] = frozenset(),
    complete_until: date | None = None,
    is_partial: bool = False,
) -> PatientCourse:
    """Return what a record tells about the patient's course.

    Parameters
    ----------
    record
        All that the server holds about the patient.
    read_at
        Aware UTC time of the reading.
    icu_location_ids
        Logical ids of Locations that are intensive care units.
    kept_events
        Kinds of events that this server demonstrably keeps.
    complete_until
        Until when the site states that deaths and returns are complete.
    is_partial
        Whether the reading is known to lack something.

    """
    encounters = [e for e in record.encounters if e.get("status") not in _NOT_YET]
    stays = tuple(s for e in encounters if (s := _stay(e)) is not None)
    contacts = [at for e in encounters for at in _period(e.get("period"))]
    contacts += [effective_at(o) for o in record.observations if not observation.is_ignored(o)]
    died_on = day(record.patient.get("deceasedDateTime"))
    if died_on is None:
        died_on = next((s.ended_at.date() for s in stays if s.has_died_there and s.ended_at), None)
    return PatientCourse(
        read_at=read_at,
        died_on=died_on,
        stays=stays,
        events=(
            *_icu(encounters, icu_location_ids),
            *_procedures(record.procedures),
            *_cancers(record.conditions),
        ),
        last_contact_at=latest(at for at in contacts if at is not None and at <= read_at),
        kept_events=kept_events,
        complete_until=complete_until,
        is_partial=is_partial or "Encounter" in record.refused,
    )


def encounter_of(study: Resource | None) -> str | None:
    """Return the logical id of a study's Encounter, or None."""
    return None if study is None else reference_id(study.get("encounter"), "Encounter")


def says(event: str, concept: object) -> bool:
    """Tell whether a CodeableConcept says an event of the outcome table."""
    codes = [code for c in codings(concept) if (code := text(c.get("code")))]
    displays = [text(c.get("display")) or "" for c in codings(concept)]
    return event_terms()[event].match(codes, " ".join([concept_text(concept) or "", *displays]))


def is_icu_location(location: Resource) -> bool:
    """Tell whether a Location is an intensive care unit."""
    concepts = [*items(location.get("type")), {"text": location.get("name")}]
    return any(says("icu", concept) for concept in concepts)


def _stay(encounter: Resource) -> HospitalStay | None:
    encounter_id = text(encounter.get("id"))
    started_at, ended_at = _period(encounter.get("period"))
    is_stay = text(mapping(encounter.get("class")).get("code")) in STAY_CLASSES
    if not is_stay or "partOf" in encounter or encounter_id is None or started_at is None:
        return None
    disposition = mapping(encounter.get("hospitalization")).get("dischargeDisposition")
    return HospitalStay(encounter_id, started_at, ended_at, has_code(disposition, *_DIED))


def _icu(encounters: Iterable[Resource], icu_location_ids: frozenset[str]) -> Iterator[CourseEvent]:
    for encounter in encounters:
        whole = _period(encounter.get("period"))
        if any(says("icu", kind) for kind in items(encounter.get("type"))):
            if whole[0] is not None:
                yield CourseEvent("icu", whole[0], whole[1])
            continue
        places = items(encounter.get("location"))
        for place in places:
            if place.get("status") == "planned" or not _is_icu(place, icu_location_ids):
                continue
            started_at, ended_at = _period(place.get("period"))
            if started_at is None and len(places) == 1:
                started_at, ended_at = whole
            if started_at is not None:
                yield CourseEvent("icu", started_at, ended_at or whole[1])


def _is_icu(place: Resource, icu_location_ids: frozenset[str]) -> bool:
    reference = place.get("location")
    named = {"text": mapping(reference).get("display")}
    return reference_id(reference, "Location") in icu_location_ids or says("icu", named)


def _procedures(procedures: Iterable[Resource]) -> Iterator[CourseEvent]:
    events = [name for name, t in event_terms().items() if t.resource_type == "Procedure"]
    for procedure in procedures:
        if procedure.get("status") not in _DONE:
            continue
        started_at, ended_at = _period(procedure.get("performedPeriod"))
        # Of what is over without a recorded end only the beginning is known.
        is_moment = ended_at is None and procedure.get("status") != "in-progress"
        started_at = started_at or moment(procedure.get("performedDateTime"))
        if started_at is None:
            continue
        for event in events:
            if says(event, procedure.get("code")):
                yield CourseEvent(event, started_at, ended_at, is_moment)


def _cancers(conditions: Iterable[Resource]) -> Iterator[CourseEvent]:
    for one in conditions:
        recorded_at = recorded_at_of(one)
        if condition.is_ignored(one) or recorded_at is None:
            continue
        if is_confirmed(one) and says("cancer", one.get("code")):
            yield CourseEvent("cancer", recorded_at)


def is_confirmed(one: Resource) -> bool:
    """Tell whether a Condition's verification status is confirmed."""
    return has_code(one.get("verificationStatus"), "confirmed")


def recorded_at_of(one: Resource) -> datetime | None:
    """Return when a Condition was recorded; a day without a time counts as its end."""
    recorded = one.get("recordedDate")
    on = day(recorded)
    return moment(recorded) or (None if on is None else _at(on, time.max))


def _period(period: object) -> tuple[datetime | None, datetime | None]:
    """Return start and end of a Period; days without a time count from start to end."""
    start, end = mapping(period).get("start"), mapping(period).get("end")
    first, last = day(start), day(end)
    started_at = moment(start) or (None if first is None else _at(first, time.min))
    ended_at = moment(end) or (None if last is None else _at(last, time.max))
    return started_at, ended_at


def _at(on: date, clock: time) -> datetime:
    return datetime.combine(on, clock.replace(microsecond=0), tzinfo=UTC)
