"""Resources of one reading -> ClinicalContext; pure, no network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cds.domain.facts import HistoryFlag, Measurement, SetAside
from cds.domain.patient import ClinicalContext, Demographics
from cds.fhir import condition, imaging_study, observation, service_request
from cds.fhir.shapes import Resource, text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cds.domain.study import StudyRef

_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, repr=False)
class RecordResources:
    """What was read about one patient, still as FHIR JSON.

    Every resource is about the context patient: the reader has checked that. `missing` holds
    sentences for what could not be read.
    """

    conditions: tuple[Resource, ...] = ()
    observations: tuple[Resource, ...] = ()
    imaging_studies: tuple[Resource, ...] = ()
    diagnostic_reports: tuple[Resource, ...] = ()
    service_requests: tuple[Resource, ...] = ()
    endpoints: tuple[Resource, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(slots=True)
class _Skipped:
    """Counts resources that could not be understood, by type."""

    by_type: Counter[str] = field(default_factory=Counter)

    def sentences(self) -> tuple[str, ...]:
        return tuple(
            f"{resource_type}: {n} could not be understood."
            for resource_type, n in sorted(self.by_type.items())
        )


def clinical_context(
    demographics: Demographics,
    resources: RecordResources,
    *,
    read_at: datetime,
    as_of: datetime,
) -> ClinicalContext:
    """Put the record together.

    Parameters
    ----------
    demographics
        From the Patient.
    resources
        As read.
    read_at
        Aware UTC time of the reading.
    as_of
        Aware UTC; values and conditions that the record knew only later are left out.

    Returns
    -------
    ClinicalContext
        Malformed resources are left out and counted in `missing`.

    """
    skipped = _Skipped()
    values = _values(resources.observations, as_of, skipped)
    return ClinicalContext(
        demographics=demographics,
        read_at=read_at,
        studies=_studies(resources, skipped),
        measurements=tuple(v for v in values if isinstance(v, Measurement)),
        set_aside=tuple(v for v in values if isinstance(v, SetAside)),
        history=_history(resources.conditions, as_of, skipped),
        missing=(*resources.missing, *skipped.sentences()),
    )


def _values(
    observations: Iterable[Resource], as_of: datetime, skipped: _Skipped
) -> list[Measurement | SetAside]:
    values: list[Measurement | SetAside] = []
    for resource in observations:
        known_at = observation.known_at(resource)
        if observation.is_ignored(resource) or (known_at is not None and known_at > as_of):
            continue
        if "code" not in resource:
            skipped.by_type["Observation"] += 1
            continue
        values.extend(observation.measurements_from_observation(resource))
    return values


def _history(
    conditions: Iterable[Resource], as_of: datetime, skipped: _Skipped
) -> tuple[HistoryFlag, ...]:
    flags = []
    for resource in conditions:
        if condition.is_ignored(resource):
            continue
        flag = condition.history_from_condition(resource)
        if flag is None:
            skipped.by_type["Condition"] += 1
        elif flag.recorded_on is None or flag.recorded_on <= as_of.date():
            flags.append(flag)
    return tuple(flags)


def _studies(resources: RecordResources, skipped: _Skipped) -> tuple[StudyRef, ...]:
    addresses = {
        endpoint_id: address
        for endpoint in resources.endpoints
        if (endpoint_id := text(endpoint.get("id")))
        and (address := imaging_study.dicomweb_address(endpoint))
    }
    studies = []
    for resource in resources.imaging_studies:
        if imaging_study.is_ignored(resource):
            continue
        study = imaging_study.study_from_imaging_study(
            resource, addresses=addresses, reports=resources.diagnostic_reports
        )
        if study is None:
            skipped.by_type["ImagingStudy"] += 1
        else:
            studies.append(study)
    studies.extend(_studies_by_accession(resources, studies))
    return tuple(sorted(studies, key=lambda s: s.started_at or _BEGINNING, reverse=True))


def _studies_by_accession(
    resources: RecordResources, known: Iterable[StudyRef]
) -> tuple[StudyRef, ...]:
    """Return studies that only an order or a report names, once per accession number."""
    seen = {study.accession_number for study in known}
    found = []
    for order in (*resources.service_requests, *resources.diagnostic_reports):
        if service_request.is_ignored(order):
            continue
        study = service_request.study_from_accession(order, reports=resources.diagnostic_reports)
        if study is not None and study.accession_number not in seen:
            seen.add(study.accession_number)
            found.append(study)
    return tuple(found)
