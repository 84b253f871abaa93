"""A joined study with its objects -> the row that the import reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cds.domain.archive import ArchivedInstance, ArchivedStudy
from cds.domain.identity import check_identity
from cds.domain.pixels import PixelFrame
from cds.domain.recorded_case import RecordedCase
from cds.domain.registration import EhrRegistration
from cds.library.source_case import SourceCase, SourcePicture

ReportScrubber = Callable[[str], str | None]
"""Report text -> text that may be shown, or None if nothing of it may."""


def unseen(text: str) -> None:
    """Keep report text unseen: a `ReportScrubber` for an import without one."""
    del text


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
    scrub
        Decides what of a report may be shown.

    """

    collection: str
    registration: EhrRegistration
    licence: str = ""
    scrub: ReportScrubber = unseen

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
            SourcePicture(one.sop_instance_uid, None, content=one.content) for one in instances
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
        report_text=scope.scrub(recorded.report_text) if recorded.report_text else None,
        licence=scope.licence,
        notes=dict(recorded.notes),
        set_aside=recorded.set_aside,
        owner_ehr_id=scope.ehr_id,
        check=check,
        is_newest=True,
    )
