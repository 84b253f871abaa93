"""A patient's whole record out of a bulk export, found from a study of the PACS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from datetime import datetime

    from cds.adapters.fhir_bulk_export import ExportReport
    from cds.adapters.record_spool import RecordSpool
    from cds.domain.archive import ArchivedStudy
    from cds.domain.registration import EhrRegistration
    from cds.fhir.patient_record import PatientRecord

ALWAYS_KEPT = frozenset({"cancer"})


class ExportedRecords:
    """A `cds.adapters.fhir_archive.RecordSource` over a filled spool.

    Parameters
    ----------
    spool
        Filled and indexed.
    report
        What the export gave.
    registration
        Says which identifier system and issuer the PACS's Patient ID belongs to.

    """

    def __init__(
        self, spool: RecordSpool, report: ExportReport, registration: EhrRegistration
    ) -> None:
        self._spool = spool
        self.read_at: datetime | None = report.taken_at
        self.is_partial = not report.is_whole
        self._registration = registration

    def record_of(self, study: ArchivedStudy) -> PatientRecord | None:
        """Return the record of a study's patient, None if the export knows neither.

        Raises
        ------
        CdsError
            IDENTITY_MISMATCH if the export names several patients.

        """
        for kind, value in self._names(study):
            patients = self._spool.patients(kind, value)
            if len(patients) > 1:
                raise CdsError(
                    Reason.IDENTITY_MISMATCH,
                    "The record names this study or number for more than one patient. Tell the "
                    "EHR team.",
                    fields=kind,
                )
            if patients:
                return self._spool.record(patients[0])
        return None

    def icu_location_ids(self) -> frozenset[str]:
        """Return the Locations that are intensive care units."""
        return self._spool.icu_location_ids

    def kept_events(self) -> frozenset[str]:
        """Return the kinds of events that the export holds for anybody."""
        return ALWAYS_KEPT | frozenset(self._spool.kept)

    def _names(self, study: ArchivedStudy) -> list[tuple[str, str]]:
        """Return what names the patient, the surest first."""
        names = [("study", study.study_instance_uid)]
        if study.accession_number:
            names.append(("accession", study.accession_number))
        number, registration = study.patient_id_value, self._registration
        is_foreign = bool(
            study.issuer and registration.pacs_issuer and study.issuer != registration.pacs_issuer
        )
        if number and not is_foreign:
            system = registration.mrn_system
            names.append(("number", number if system is None else f"{system}|{number}"))
        return names
