"""Roll-outs of encoders in the database, and the newest kept answers that one is tried on."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from cds.adapters.result_store import SqlResultStore
from cds.adapters.sql.door_models import AnalysisResult
from cds.adapters.sql.encoder_models import EncoderRollout
from cds.domain.report import AnswerState, CaseReport
from cds.domain.rollout import (
    ANNOUNCED_FOR,
    EncoderRef,
    Rollout,
    RolloutKind,
    model_change_sentence,
)

_READ_AT_A_TIME = 200


class SqlRollouts:
    """Notes roll-outs; the newest one towards the serving encoder is the one that holds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, rollout: Rollout) -> None:
        """Note a roll-out, before the switch."""
        row = EncoderRollout(
            kind=rollout.kind.value,
            before_name=rollout.before.name,
            before_hash=rollout.before.encoder_hash,
            before_generation=rollout.before.generation_id,
            after_name=rollout.after.name,
            after_hash=rollout.after.encoder_hash,
            after_generation=rollout.after.generation_id,
            approvers=json.dumps(list(rollout.approvers)),
            report=rollout.report,
            at=rollout.at,
        )
        with Session(self._engine) as session, session.begin():
            session.add(row)

    def newest_to(self, encoder_hash: str) -> Rollout | None:
        """Return the newest roll-out towards an encoder, or None if it served from the start."""
        query = (
            select(EncoderRollout)
            .where(EncoderRollout.after_hash == encoder_hash)
            .order_by(EncoderRollout.rollout_id.desc())
        )
        with Session(self._engine) as session:
            row = session.scalars(query.limit(1)).first()
            return None if row is None else _rollout(row)

    def all(self) -> tuple[Rollout, ...]:
        """Return every roll-out, newest first."""
        query = select(EncoderRollout).order_by(EncoderRollout.rollout_id.desc())
        with Session(self._engine) as session:
            return tuple(_rollout(row) for row in session.scalars(query))


def recent_change(engine: Engine, serving_hash: str | None, now: datetime) -> str | None:
    """Return what pages say about a change of the serving encoder in the last 30 days, or None."""
    made = None if serving_hash is None else SqlRollouts(engine).newest_to(serving_hash)
    if made is None or now - made.at > ANNOUNCED_FOR:
        return None
    return model_change_sentence(made.before.name, made.after.name, made.at.date())


def newest_answers(
    engine: Engine, results: SqlResultStore, *, limit: int
) -> tuple[CaseReport, ...]:
    """Return the newest answers of all EHRs, one per study, that compared and still stand."""
    states = (AnswerState.COMPARED.value, AnswerState.NOTHING_COMPARABLE.value)
    query = (
        select(AnalysisResult.ehr_id, AnalysisResult.report_id, AnalysisResult.study_key)
        .where(AnalysisResult.state.in_(states), AnalysisResult.study_key.is_not(None))
        .order_by(AnalysisResult.created_at.desc(), AnalysisResult.report_id)
    )
    found: dict[tuple[str, str | None], CaseReport] = {}
    with Session(engine) as session:
        for ehr_id, report_id, study_key in session.execute(
            query.execution_options(yield_per=_READ_AT_A_TIME)
        ):
            if (ehr_id, study_key) in found:
                continue
            report = results.by_id(ehr_id, report_id)
            if report is not None and report.withdrawn is None:
                found[ehr_id, study_key] = report
            if len(found) == limit:
                break
    return tuple(found.values())


def _rollout(row: EncoderRollout) -> Rollout:
    return Rollout(
        kind=RolloutKind(row.kind),
        before=EncoderRef(row.before_name, row.before_hash, row.before_generation),
        after=EncoderRef(row.after_name, row.after_hash, row.after_generation),
        approvers=tuple(json.loads(row.approvers)),
        at=row.at,
        report=row.report,
    )
