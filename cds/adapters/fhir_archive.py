"""The record of archived studies, from a FHIR server by search or by bulk export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cds.domain.recorded_case import RecordedCase, ReportReader, no_report_findings
from cds.fhir.recorded_case import JoinRules, recorded_case

if TYPE_CHECKING:
    from datetime import date, datetime

    from cds.domain.archive import ArchivedStudy
    from cds.domain.registration import EhrRegistration
    from cds.fhir.patient_record import PatientRecord
    from cds.ports import Clock


class RecordSource(Protocol):
    """Where whole records of patients come from.

    `read_at` is when an export was taken, None where each record is read when it is asked for;
    `is_partial` whether what was read is known to lack something.
    """

    @property
    def read_at(self) -> datetime | None:
        """Return when everything was read, None if it is read piece by piece."""
        ...

    @property
    def is_partial(self) -> bool:
        """Tell whether something is known to be missing."""
        ...

    def record_of(self, study: ArchivedStudy) -> PatientRecord | None:
        """Return the record of a study's patient, None if it knows neither."""
        ...

    def icu_location_ids(self) -> frozenset[str]:
        """Return the Locations that are intensive care units."""
        ...

    def kept_events(self) -> frozenset[str]:
        """Return the kinds of events that the record demonstrably keeps."""
        ...


class FhirRecordArchive:
    """Joins studies with their records; implements `cds.library.archive_ports.RecordArchive`.

    Parameters
    ----------
    source
        Searches, or a bulk export.
    registration
        The EHR.
    clock
        Says when a record was read.
    complete_until
        Until when the site states that deaths and returns are complete.
    report_reader
        Reads findings from report text.

    """

    def __init__(
        self,
        source: RecordSource,
        registration: EhrRegistration,
        *,
        clock: Clock,
        complete_until: date | None = None,
        report_reader: ReportReader = no_report_findings,
    ) -> None:
        self._source = source
        self._registration = registration
        self._clock = clock
        self._complete_until = complete_until
        self._report_reader = report_reader

    def case_of(self, study: ArchivedStudy) -> RecordedCase | None:
        """Return what the record says of a study; None if it does not know the patient.

        Raises
        ------
        CdsError
            IDENTITY_MISMATCH if PACS and record name different patients; INVALID_REQUEST if nobody
            says when the film was taken; UPSTREAM_FAILED, UPSTREAM_REFUSED, DEADLINE or
            EGRESS_REFUSED.

        """
        record = self._source.record_of(study)
        if record is None:
            return None
        rules = JoinRules(
            registration=self._registration,
            read_at=self._source.read_at or self._clock.now(),
            icu_location_ids=self._source.icu_location_ids(),
            kept_events=self._source.kept_events(),
            complete_until=self._complete_until,
            is_partial=self._source.is_partial,
            report_reader=self._report_reader,
        )
        return recorded_case(study, record, rules)
