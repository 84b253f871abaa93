"""Finished answers in the database, encrypted, each bound to its EHR."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine, Select, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cds.adapters.crypto import FieldCipher
from cds.adapters.sql.door_models import AnalysisResult
from cds.adapters.sql.job_models import ResultLife
from cds.adapters.sql.sealed_json import SealedJson
from cds.domain.errors import CdsError, Reason
from cds.domain.report import CaseReport
from cds.domain.withdrawal import Withdrawal, WithdrawalReason
from cds.ports import IdentityKeys


class SqlResultStore:
    """Keeps `CaseReport` values; implements `cds.ports.ResultStore`.

    A patient is found by a keyed hash of the FHIR id within its EHR: the id itself is only in the
    encrypted report.
    """

    def __init__(self, engine: Engine, cipher: FieldCipher, keys: IdentityKeys) -> None:
        self._engine = engine
        self._reports = SealedJson(CaseReport, cipher, "analysis_result.report")
        self._keys = keys

    def save(self, report: CaseReport, *, requested_by: str) -> None:
        """Keep the answer; a second save of the same answer, computed later, changes nothing.

        Raises
        ------
        CdsError
            INVALID_REQUEST if another answer has this id already.

        """
        row = AnalysisResult(
            ehr_id=report.ehr_id,
            report_id=report.report_id,
            patient_key=self._patient_key(report.ehr_id, report.patient_id),
            study_key=self._study_key(report),
            input_hash=report.input_hash,
            state=report.state.value,
            report=self._reports.seal(report, _row_id(report.ehr_id, report.report_id)),
            requested_by=requested_by,
            created_at=report.created_at,
        )
        try:
            with Session(self._engine) as session, session.begin():
                session.add(row)
        except IntegrityError:
            kept = self.by_id(report.ehr_id, report.report_id)
            if kept is None or _essence(kept) != _essence(report):
                raise CdsError(
                    Reason.INVALID_REQUEST, "Another answer is already kept under this id."
                ) from None

    def by_id(self, ehr_id: str, report_id: str) -> CaseReport | None:
        """Return the answer with this id of this EHR, or None."""
        return self._first(_of(ehr_id).where(AnalysisResult.report_id == report_id))

    def by_input_hash(self, ehr_id: str, input_hash: str) -> CaseReport | None:
        """Return the newest answer from exactly these inputs that was not withdrawn, or None."""
        withdrawn = select(ResultLife.report_id).where(
            ResultLife.ehr_id == ehr_id, ResultLife.withdrawn_at.is_not(None)
        )
        return self._first(
            _of(ehr_id).where(
                AnalysisResult.input_hash == input_hash,
                AnalysisResult.report_id.not_in(withdrawn),
            )
        )

    def by_patient(self, ehr_id: str, patient_id: str) -> tuple[CaseReport, ...]:
        """Return the answers about a patient, newest first."""
        key = self._patient_key(ehr_id, patient_id)
        with Session(self._engine) as session:
            rows = session.scalars(_of(ehr_id).where(AnalysisResult.patient_key == key))
            return tuple(self._report(session, row) for row in rows)

    def _first(self, query: Select[AnalysisResult]) -> CaseReport | None:
        with Session(self._engine) as session:
            row = session.scalars(query.limit(1)).first()
            return None if row is None else self._report(session, row)

    def _report(self, session: Session, row: AnalysisResult) -> CaseReport:
        report = self._reports.unseal(row.report, _row_id(row.ehr_id, row.report_id))
        life = session.get(ResultLife, (row.ehr_id, row.report_id))
        if life is None or life.withdrawn_at is None or life.withdrawn_because is None:
            return report
        because = WithdrawalReason(life.withdrawn_because)
        return replace(report, withdrawn=Withdrawal(because, life.withdrawn_at))

    def _patient_key(self, ehr_id: str, patient_id: str | None) -> str | None:
        if patient_id is None:
            return None
        return self._keys.patient_key(f"fhir-id:{ehr_id}", patient_id)

    def _study_key(self, report: CaseReport) -> str | None:
        if report.study is None or report.study.study_instance_uid is None:
            return None
        return self._keys.study_key(report.study.study_instance_uid)


def _of(ehr_id: str) -> Select[AnalysisResult]:
    newest_first = (AnalysisResult.created_at.desc(), AnalysisResult.report_id)
    return select(AnalysisResult).where(AnalysisResult.ehr_id == ehr_id).order_by(*newest_first)


def _essence(report: CaseReport) -> tuple[str, str, str | None]:
    """Return what makes two answers the same: the inputs and the kind of answer, at any time."""
    return report.input_hash, report.state.value, report.not_assessed_reason


def _row_id(ehr_id: str, report_id: str) -> str:
    return f"{ehr_id}/{report_id}"
