"""A joined study with its objects -> the row that the import reads."""

from __future__ import annotations

from dataclasses import dataclass

from cds.domain.archive import ArchivedInstance, ArchivedStudy
from cds.domain.identity import check_identity
from cds.domain.pixels import PixelFrame
from cds.domain.recorded_case import RecordedCase
from cds.domain.registration import EhrRegistration
from cds.library.deidentification import RAW_REPORT
from cds.library.source_case import SourceCase, SourcePicture


@dataclass(frozen=True, slots=True)
class ArchiveScope:
    """Whose library is filled.

    Attributes
    ----------
    collection
        Name that the cases carry.
    registration
        The EHR that owns them.
    licence
        Said of each case.

    """

    collection: str
    registration: EhrRegistration
    licence: str = ""

    @property
    def ehr_id(self) -> str:
        """Return whose the cases are."""
        return self.registration.ehr_id


def source_case(
    study: ArchivedStudy,
    recorded: RecordedCase,
    instances: tuple[ArchivedInstance, ...],
    scope: ArchiveScope,
) -> SourceCase:
    """Return the row of a study; without instances it only brings its case up to date.

    Parameters
    ----------
    study
        As the PACS lists it.
    recorded
        What the record says.
    instances
        Whole objects; each decoded picture is compared with the record again before it comes in.
    scope
        Whose library is filled.

    """
    body_part = recorded.study.body_part

    def check(frame: PixelFrame) -> None:
        check_identity(frame.identity, recorded.demographics, recorded.study, scope.registration)

    return SourceCase(
        row_name=study.study_instance_uid,
        collection=scope.collection,
        study_name=study.study_instance_uid,
        patient_namespace=recorded.patient_namespace,
        patient_value=recorded.patient_value,
        pictures=tuple(
            SourcePicture(one.sop_instance_uid, None, content=one.content, slice_place=one.place)
            for one in instances
        ),
        study_instance_uid=study.study_instance_uid,
        body_part=body_part.upper() if body_part else None,
        age_years=recorded.age_years,
        sex=recorded.demographics.sex,
        known_at=recorded.known_at,
        film_year=recorded.film_at.year,
        findings=recorded.findings,
        measurements=recorded.measurements,
        history=recorded.history,
        outcomes=recorded.outcomes,
        states_at_film=recorded.states_at_film,
        licence=scope.licence,
        notes=_notes(recorded),
        set_aside=recorded.set_aside,
        owner_ehr_id=scope.ehr_id,
        check=check,
        is_newest=True,
    )


def _notes(recorded: RecordedCase) -> dict[str, str]:
    """Return what is kept encrypted: the report's own words are shown only as far as scrubbed."""
    notes = dict(recorded.notes)
    if recorded.report_text:
        notes[RAW_REPORT] = recorded.report_text
    return notes
