"""What happens to answers after they were computed: bound, opened, seen, withdrawn, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, Select, delete, exists, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cds.adapters.crypto import FieldCipher
from cds.adapters.result_store import SqlResultStore
from cds.adapters.sql.door_models import AnalysisResult
from cds.adapters.sql.job_models import ResultLife, ResultView
from cds.adapters.sql.sealed_json import SealedJson
from cds.domain.pixels import PictureIdentity
from cds.domain.report import CaseReport
from cds.domain.withdrawal import ResultBinding, Withdrawal, WithdrawalReason
from cds.ports import Clock, IdentityKeys


@dataclass(frozen=True, slots=True)
class SeenBy:
    """Who was shown an answer, by which door, first when."""

    viewer: str
    door: str
    seen_at: datetime


class SqlResultLives:
    """Implements `cds.arrival_ports.ResultLives`, and keeps who has seen which answer."""

    def __init__(
        self, engine: Engine, cipher: FieldCipher, keys: IdentityKeys, clock: Clock
    ) -> None:
        self._engine = engine
        self._cipher = cipher
        self._keys = keys
        self._clock = clock
        self._results = SqlResultStore(engine, cipher, keys)
        self._identities = SealedJson(PictureIdentity, cipher, "result_life.identity")

    def bind(self, report: CaseReport, binding: ResultBinding) -> None:
        """Remember to what an answer is bound (see `ResultLives.bind`)."""
        place = (report.ehr_id, report.report_id)
        try:
            with Session(self._engine) as session, session.begin():
                row = session.get(ResultLife, place)
                if row is None:
                    row = self._new_row(report, binding)
                    session.add(row)
                if binding.fingerprint is not None:
                    row.record_hash, row.fingerprint = binding.record_hash, binding.fingerprint
                if binding.identity is not None:
                    sealed = self._identities.seal(binding.identity, "/".join(place))
                    row.identity = sealed
                row.checked_at = self._clock.now()
                self._supersede(session, row)
        except IntegrityError:  # two processes computed the same answer: one row is enough
            return

    def bound(self, ehr_id: str, record_hash: str) -> tuple[CaseReport, ResultBinding] | None:
        """Return the newest answer with a fingerprint for this record, unless withdrawn."""
        query = (
            _standing(ehr_id)
            .where(ResultLife.record_hash == record_hash, ResultLife.fingerprint.is_not(None))
            .order_by(ResultLife.created_at.desc())
        )
        with Session(self._engine) as session:
            row = session.scalars(query.limit(1)).first()
        report = None if row is None else self._results.by_id(ehr_id, row.report_id)
        return None if row is None or report is None else (report, self._binding(row))

    def binding_of(self, report: CaseReport) -> ResultBinding | None:
        """Return to what an answer is bound, or None if that is not known."""
        with Session(self._engine) as session:
            row = session.get(ResultLife, (report.ehr_id, report.report_id))
            return None if row is None else self._binding(row)

    def n_withdrawn(self, ehr_id: str, input_hash: str) -> int:
        """Return how often an answer from exactly these inputs was withdrawn."""
        query = (
            select(func.count())
            .select_from(AnalysisResult)
            .join(ResultLife, _same_answer())
            .where(
                AnalysisResult.ehr_id == ehr_id,
                AnalysisResult.input_hash == input_hash,
                ResultLife.withdrawn_at.is_not(None),
            )
        )
        with Session(self._engine) as session:
            return session.scalar(query) or 0

    def withdraw(self, report: CaseReport, withdrawal: Withdrawal) -> bool:
        """Withdraw an answer; False if it was withdrawn before."""
        with Session(self._engine) as session, session.begin():
            row = session.get(ResultLife, (report.ehr_id, report.report_id), with_for_update=True)
            if row is None:
                row = self._new_row(report, ResultBinding(record_hash=""))
                session.add(row)
            if row.withdrawn_at is not None and row.withdrawn_because != _SUPERSEDED:
                return False
            row.withdrawn_at = withdrawal.noticed_at
            row.withdrawn_because = withdrawal.reason.value
            return True

    def of_study(
        self, ehr_id: str, study_instance_uid: str, patient_id: str | None = None
    ) -> tuple[CaseReport, ...]:
        """Return the answers about a study that stand, of one patient or of all."""
        query = _standing(ehr_id).where(
            ResultLife.study_key == self._keys.study_key(study_instance_uid)
        )
        if patient_id is not None:
            query = query.where(ResultLife.patient_key == self._patient_key(ehr_id, patient_id))
        with Session(self._engine) as session:
            ids = [row.report_id for row in session.scalars(query)]
        return self._reports(ehr_id, ids)

    def standing(
        self, ehr_id: str, *, since: datetime, checked_before: datetime
    ) -> tuple[str, ...]:
        """Return the ids of an EHR's answers since then that stand, oldest check first."""
        query = (
            _standing(ehr_id)
            .where(
                ResultLife.created_at >= since,
                ResultLife.study_key.is_not(None),
                ResultLife.checked_at.is_(None) | (ResultLife.checked_at < checked_before),
            )
            .order_by(ResultLife.checked_at)
        )
        with Session(self._engine) as session:
            return tuple(row.report_id for row in session.scalars(query))

    def withdrawn(self, ehr_id: str) -> tuple[CaseReport, ...]:
        """Return the answers of an EHR that were withdrawn, newest first."""
        query = (
            select(ResultLife.report_id)
            .where(ResultLife.ehr_id == ehr_id, ResultLife.withdrawn_at.is_not(None))
            .order_by(ResultLife.withdrawn_at.desc())
        )
        with Session(self._engine) as session:
            ids = list(session.scalars(query))
        return self._reports(ehr_id, ids)

    def mark_checked(self, report: CaseReport) -> None:
        """Remember that an answer was found to hold now."""
        with Session(self._engine) as session, session.begin():
            row = session.get(ResultLife, (report.ehr_id, report.report_id))
            if row is not None:
                row.checked_at = self._clock.now()

    def is_fresh(self, report: CaseReport, *, within: timedelta) -> bool:
        """Tell whether an answer was found to hold so recently."""
        with Session(self._engine) as session:
            row = session.get(ResultLife, (report.ehr_id, report.report_id))
        checked_at = None if row is None else row.checked_at
        return checked_at is not None and self._clock.now() - checked_at < within

    def mark_opened(self, report: CaseReport) -> None:
        """Remember that somebody's call was answered from this: it is kept with the record."""
        with Session(self._engine) as session, session.begin():
            row = session.get(ResultLife, (report.ehr_id, report.report_id))
            if row is None:
                row = self._new_row(report, ResultBinding(record_hash=""))
                session.add(row)
            if row.opened_at is None:
                row.opened_at = self._clock.now()

    def note_view(self, ehr_id: str, report_id: str, *, viewer: str, door: str) -> None:
        """Remember who was shown an answer; a second time changes nothing."""
        key = self._keys.patient_key(f"{ehr_id}/viewer", viewer)
        place = f"result_view.viewer:{ehr_id}/{report_id}/{key}/{door}"
        row = ResultView(
            ehr_id=ehr_id,
            report_id=report_id,
            viewer_key=key,
            door=door,
            viewer=self._cipher.encrypt(viewer.encode(), place),
            seen_at=self._clock.now(),
        )
        try:
            with Session(self._engine) as session, session.begin():
                session.add(row)
        except IntegrityError:
            return

    def seen_by(self, ehr_id: str, report_id: str) -> tuple[SeenBy, ...]:
        """Return who was shown an answer, in order of time."""
        query = select(ResultView).where(
            ResultView.ehr_id == ehr_id, ResultView.report_id == report_id
        )
        with Session(self._engine) as session:
            rows = session.scalars(query.order_by(ResultView.seen_at))
            return tuple(
                SeenBy(
                    self._cipher.decrypt(
                        row.viewer,
                        f"result_view.viewer:{ehr_id}/{report_id}/{row.viewer_key}/{row.door}",
                    ).decode(),
                    row.door,
                    row.seen_at,
                )
                for row in rows
            )

    def delete_unopened(self, *, older_than: timedelta) -> int:
        """Delete answers that nobody asked for and nobody was shown; return how many.

        Each is looked at again in the statement that deletes it: one that somebody opens in this
        moment stays.
        """
        unseen = (
            ResultLife.is_precomputed.is_(True),
            ResultLife.opened_at.is_(None),
            ResultLife.created_at < self._clock.now() - older_than,
            ~exists().where(
                ResultView.ehr_id == ResultLife.ehr_id,
                ResultView.report_id == ResultLife.report_id,
            ),
        )
        n_deleted = 0
        with Session(self._engine) as session, session.begin():
            places = session.execute(select(ResultLife.ehr_id, ResultLife.report_id).where(*unseen))
            for ehr_id, report_id in places.all():
                one = (ResultLife.ehr_id == ehr_id, ResultLife.report_id == report_id)
                query = delete(ResultLife).where(*one, *unseen).returning(ResultLife.report_id)
                if session.scalar(query.execution_options(synchronize_session=False)) is None:
                    continue
                n_deleted += 1
                session.execute(
                    delete(AnalysisResult).where(
                        AnalysisResult.ehr_id == ehr_id, AnalysisResult.report_id == report_id
                    )
                )
        return n_deleted

    def _supersede(self, session: Session, newest: ResultLife) -> None:
        """Let an answer from other pictures of the same study and patient give way to this one."""
        if newest.fingerprint is None or newest.study_key is None:
            return
        session.flush()
        query = _standing(newest.ehr_id).where(
            ResultLife.study_key == newest.study_key,
            ResultLife.patient_key == newest.patient_key,
            ResultLife.report_id != newest.report_id,
            ResultLife.fingerprint.is_not(None),
            ResultLife.fingerprint != newest.fingerprint,
        )
        for row in session.scalars(query):
            row.withdrawn_at, row.withdrawn_because = self._clock.now(), _SUPERSEDED
            row.superseded_by = newest.report_id

    def _new_row(self, report: CaseReport, binding: ResultBinding) -> ResultLife:
        uid = report.study.study_instance_uid if report.study else None
        patient_id = report.patient_id
        return ResultLife(
            ehr_id=report.ehr_id,
            report_id=report.report_id,
            record_hash=binding.record_hash,
            fingerprint=binding.fingerprint,
            study_key=self._keys.study_key(uid) if uid else None,
            patient_key=self._patient_key(report.ehr_id, patient_id) if patient_id else None,
            is_precomputed=binding.is_precomputed,
            created_at=self._clock.now(),
        )

    def _binding(self, row: ResultLife) -> ResultBinding:
        place = f"{row.ehr_id}/{row.report_id}"
        identity = None if row.identity is None else self._identities.unseal(row.identity, place)
        return ResultBinding(row.record_hash, identity, row.fingerprint, row.is_precomputed)

    def _reports(self, ehr_id: str, report_ids: Sequence[str]) -> tuple[CaseReport, ...]:
        found = (self._results.by_id(ehr_id, report_id) for report_id in report_ids)
        return tuple(report for report in found if report is not None)

    def _patient_key(self, ehr_id: str, patient_id: str) -> str:
        return self._keys.patient_key(f"fhir-id:{ehr_id}", patient_id)


_SUPERSEDED = WithdrawalReason.SUPERSEDED.value


def _standing(ehr_id: str) -> Select[ResultLife]:
    return select(ResultLife).where(ResultLife.ehr_id == ehr_id, ResultLife.withdrawn_at.is_(None))


def _same_answer() -> ColumnElement[bool]:
    return (AnalysisResult.ehr_id == ResultLife.ehr_id) & (
        AnalysisResult.report_id == ResultLife.report_id
    )
