"""Ask the newest answered studies again with two encoders, and list what would change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cds.adapters.encoder_rollouts import newest_answers
from cds.analysis import Analyst, chosen_study
from cds.arrival.study_analysis import SCOPE, registered
from cds.domain.errors import CdsError, Reason
from cds.domain.launch import StudyHint
from cds.domain.query import BlockWeights, CaseQuery
from cds.domain.registration import Stage
from cds.domain.report import CaseReport
from cds.domain.rollout import Flip, FlipList, flip_between
from cds.domain.time_limit import TimeLimit
from cds.engine import Engine
from cds.ports import FhirAccess

N_ANSWERS = 500  # CLINICAL: list of the last 500 studies that flip
READ_LIMIT_S = 60.0
ROLLOUT = "rollout"  # the reason of a query that is asked to compare encoders; nothing is kept


class AskAgain(Protocol):
    """Reads the question of a kept answer again."""

    def __call__(self, report: CaseReport, analyst: Analyst) -> tuple[CaseQuery, Stage]:
        """Return the question with its pictures; CdsError if it cannot be had any more."""
        ...


@dataclass(frozen=True, slots=True)
class AskEhrAgain:
    """Reads record and pictures anew with our own token, as of the time of the answer."""

    engine: Engine

    def __call__(self, report: CaseReport, analyst: Analyst) -> tuple[CaseQuery, Stage]:
        """Return the question; the pictures are bound to the patient again.

        Raises
        ------
        CdsError
            INVALID_CONFIGURATION without credentials of our own; NO_IMAGING if the study is gone;
            what reading raises.

        """
        engine, deadline = self.engine, TimeLimit(READ_LIMIT_S)
        if report.patient_id is None or report.study is None:
            raise CdsError(Reason.MISSING_CONTEXT, "The answer is about no patient.")
        registration = registered(engine.registrations, report.ehr_id)
        token = engine.backend_tokens.access_token(registration, scope=SCOPE, deadline=deadline)
        access = FhirAccess(registration, token, report.patient_id)
        context = engine.peers.reader.read_context(
            access, prefetch=None, deadline=deadline, as_of=report.created_at
        )
        study = chosen_study(context.studies, _hint(report))
        if study is None:
            raise CdsError(Reason.NO_IMAGING, "The record does not list the study any more.")
        query = CaseQuery(
            ehr_id=report.ehr_id,
            reason=ROLLOUT,
            as_of=report.created_at,
            context=context,
            study=study,
            frames=analyst.frames_of(access, context, study, deadline),
            weights=BlockWeights(engine.settings.image_weight),
            cutoff=engine.settings.cutoff,
        )
        return query, registration.stage


def flip_list(
    engine: Engine,
    analysts: tuple[Analyst, Analyst],
    *,
    ask_again: AskAgain | None = None,
    limit: int = N_ANSWERS,
    progress: Callable[[int, int], None] | None = None,
) -> FlipList:
    """Return what would change among the newest answers.

    Each question is read once and answered by both encoders now, so that what else changed since
    the answer (cases, record) is not taken for the encoder's doing. Nothing of it is kept.

    Parameters
    ----------
    engine
        Of the installation.
    analysts
        Of the serving and of the new encoder.
    ask_again
        Reads a question again; None asks its EHR and PACS.
    limit
        How many answers, one per study.
    progress
        Told how many of how many are done.

    """
    ask = ask_again or AskEhrAgain(engine)
    answers = newest_answers(engine.storage.engine, engine.storage.results, limit=limit)
    flips: list[Flip] = []
    failures: Counter[str] = Counter()
    for n, report in enumerate(answers, start=1):
        try:
            query, stage = ask(report, analysts[0])
            before, after = (a.for_pictures(query, stage=stage) for a in analysts)
        except CdsError as error:
            failures[error.reason.value] += 1
        else:
            flip = flip_between(before, after)
            if flip is not None:
                flips.append(_of_answer(flip, report))
        if progress is not None:
            progress(n, len(answers))
    n_compared = len(answers) - failures.total()
    return FlipList(len(answers), n_compared, tuple(sorted(failures.items())), tuple(flips))


def _of_answer(flip: Flip, report: CaseReport) -> Flip:
    return Flip(report.ehr_id, report.report_id, flip.what, flip.before, flip.after)


def _hint(report: CaseReport) -> StudyHint:
    study = report.study
    assert study is not None  # noqa: S101  # looked at by the caller
    return StudyHint(study.study_instance_uid, study.accession_number, study.imaging_study_id)
