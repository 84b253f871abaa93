"""What a launched app asks for and gets: which study the EHR had in view, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from cds.domain.errors import CdsError
from cds.domain.patient import ClinicalContext
from cds.domain.report import CaseReport
from cds.domain.study import StudyRef


@dataclass(frozen=True, slots=True, repr=False)
class StudyHint:
    """Which study the EHR, a card or the user pointed at; only what the caller may see answers it.

    Every part may be missing, but not all of them.

    Examples
    --------
    >>> hint = StudyHint(study_instance_uid="1.2.3")
    >>> hint.names(StudyRef(study_instance_uid="1.2.3"))
    True
    >>> hint.names(StudyRef(study_instance_uid="1.2.4"))
    False

    """

    study_instance_uid: str | None = None
    accession_number: str | None = None
    imaging_study_id: str | None = None

    def __post_init__(self) -> None:
        if not (self.study_instance_uid or self.accession_number or self.imaging_study_id):
            raise ValueError("a hint names a study in at least one way")

    def names(self, study: StudyRef) -> bool:
        """Tell whether every part that both sides have agrees, and at least one does."""
        pairs = (
            (self.study_instance_uid, study.study_instance_uid),
            (self.imaging_study_id, study.imaging_study_id),
            (self.accession_number, study.accession_number),
        )
        known = [mine == theirs for mine, theirs in pairs if mine and theirs]
        return bool(known) and all(known)

    def __repr__(self) -> str:
        return "StudyHint(<redacted>)"


@dataclass(frozen=True, slots=True, repr=False)
class LaunchAnalysis:
    """What one page shows.

    Attributes
    ----------
    studies
        Every study that the user's own FHIR answer listed, newest first.
    study
        The study that was meant; None if the user has to choose one of `studies`, or there is none.
    report
        None if `study` is None.
    failure
        Why the study could not be assessed.

    """

    context: ClinicalContext
    studies: tuple[StudyRef, ...]
    study: StudyRef | None = None
    report: CaseReport | None = None
    failure: CdsError | None = None

    def __repr__(self) -> str:
        return "LaunchAnalysis(<redacted>)"
