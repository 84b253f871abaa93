"""Erasures in the database: the plan first, then the rows, each step in one transaction."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import (
    Connection,
    Engine,
    String,
    bindparam,
    exists,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from cds.adapters.crypto import FieldCipher
from cds.adapters.sql import models
from cds.adapters.sql.archive_models import ArchiveStudyRow
from cds.adapters.sql.case_rows import CaseRows
from cds.adapters.sql.door_models import AuditEventRow
from cds.adapters.sql.erasure_models import ErasureRow, ErasureTombstone
from cds.adapters.sql.librarian_models import OptOutRow
from cds.adapters.sql.models import (
    CaseEmbeddingRow,
    CaseFindingRow,
    CasePictureRow,
    ImportRejection,
    LibraryCaseRow,
)
from cds.adapters.sql.patient_rows import (
    column_of,
    delete_elsewhere,
    delete_in,
    n_rows_with,
    present_rows,
    values_in,
)
from cds.adapters.sql.sealed_json import SealedJson
from cds.domain.archive import ArchivedStudy
from cds.domain.erasure import (
    ErasurePlan,
    ErasureReceipt,
    ErasureRequest,
    ErasureStep,
    RunningErasure,
    Tombstone,
    TombstoneKind,
)

# Made once: to build a statement takes several times as long as to ask SQLite.
_BURIED = exists().where(ErasureTombstone.key.in_(bindparam("keys", expanding=True)))
_OPTED_OUT = OptOutRow.patient_key.in_(bindparam("patients", expanding=True))
_KEPT_OUT_OF_ANY = select(literal(1)).where(or_(_BURIED, exists().where(_OPTED_OUT)))
_KEPT_OUT_OF_ONE = select(literal(1)).where(
    or_(_BURIED, exists().where(_OPTED_OUT, OptOutRow.owner_ehr_id == bindparam("owner")))
)

MIN_NAME_LENGTH = 4  # a shorter number must stand alone in a file's name to be the patient's


class SqlErasures:
    """Implements `cds.library.erasure.ErasureLedger`."""

    def __init__(self, engine: Engine, cipher: FieldCipher, rows: CaseRows) -> None:
        self._engine = engine
        self._cipher = cipher
        self._rows = rows
        self._plans = SealedJson(ErasurePlan, cipher, "erasure.plan")
        self._receipts = SealedJson(ErasureReceipt, cipher, "erasure.receipt")
        self._studies = SealedJson(ArchivedStudy, cipher, "archive_study.study")

    def begin(self, request: ErasureRequest, plan: ErasurePlan, at: datetime) -> RunningErasure:
        """Note an erasure and its tombstones; imports refuse the patient from now on."""
        erasure_id = str(uuid.uuid4())
        row = ErasureRow(
            erasure_id=erasure_id,
            patient_key=request.patient_key,
            reason=request.reason.value,
            approver=self._cipher.encrypt(
                request.approver.encode(), f"erasure.approver:{erasure_id}"
            ),
            step=ErasureStep.BEGUN.value,
            plan=self._plans.seal(plan, erasure_id),
            begun_at=at,
        )
        with Session(self._engine) as session, session.begin():
            session.add(row)
            keys = self._file_keys(session, request.patient_key)
            _bury(session, TombstoneKind.PATIENT, [request.patient_key], at)
            _bury(session, TombstoneKind.FILE, keys, at)
        return RunningErasure(erasure_id, ErasureStep.BEGUN, plan, at)

    def unfinished(self, patient_key: str) -> RunningErasure | None:
        """Return the erasure of a patient that was begun and not finished, or None."""
        query = select(ErasureRow).where(
            ErasureRow.patient_key == patient_key, ErasureRow.plan.is_not(None)
        )
        with Session(self._engine) as session:
            row = session.scalars(query).first()
            if row is None or row.plan is None:
                return None
            plan = self._plans.unseal(row.plan, row.erasure_id)
            return RunningErasure(row.erasure_id, ErasureStep(row.step), plan, row.begun_at)

    def remove_rows(self, running: RunningErasure, request: ErasureRequest) -> RunningErasure:
        """Remove the patient's rows and note what else has to go, in one transaction."""
        key = request.patient_key
        with Session(self._engine) as session, session.begin():
            found = present_rows(session, key)
            study_keys = column_of(session, LibraryCaseRow.study_key, key)
            names = self._names_of_studies(session, key)
            _bury(session, TombstoneKind.FILE, self._file_keys(session, key), running.begun_at)
            removed = {
                "case_embedding": delete_in(
                    session, CaseEmbeddingRow.picture_id, found.picture_ids
                ),
                "case_finding": delete_in(session, CaseFindingRow.case_id, found.case_ids),
                "case_picture": delete_in(session, CasePictureRow.case_id, found.case_ids),
                **delete_elsewhere(session, key, study_keys, found.case_ids),
                "library_case": delete_in(session, LibraryCaseRow.case_id, found.case_ids),
                "import_rejection": self._delete_rejections(session, request.patient_value, names),
            }
            plan = _joined(running.plan, found, removed)
            return self._moved(session, running, ErasureStep.ROWS_REMOVED, plan)

    def note(self, running: RunningErasure, step: ErasureStep, plan: ErasurePlan) -> RunningErasure:
        """Note that a step is behind, and what is known since."""
        with Session(self._engine) as session, session.begin():
            return self._moved(session, running, step, plan)

    def finish(self, running: RunningErasure, receipt: ErasureReceipt) -> None:
        """Keep the receipt and wipe the plan."""
        values = {
            "step": ErasureStep.DONE.value,
            "plan": None,
            "receipt": self._receipts.seal(receipt, running.erasure_id),
            "finished_at": receipt.finished_at,
        }
        with Session(self._engine) as session, session.begin():
            session.execute(
                update(ErasureRow)
                .where(ErasureRow.erasure_id == running.erasure_id)
                .values(**values)
            )

    def newest_receipt(self, patient_key: str) -> ErasureReceipt | None:
        """Return the proof of the patient's last erasure that was finished, or None."""
        query = select(ErasureRow).where(
            ErasureRow.patient_key == patient_key, ErasureRow.receipt.is_not(None)
        )
        with Session(self._engine) as session:
            row = session.scalars(query.order_by(ErasureRow.finished_at.desc())).first()
            if row is None or row.receipt is None:
                return None
            return self._receipts.unseal(row.receipt, row.erasure_id)

    def receipts(self) -> tuple[ErasureReceipt, ...]:
        """Return every receipt, oldest first."""
        query = select(ErasureRow).where(ErasureRow.receipt.is_not(None))
        with Session(self._engine) as session:
            rows = session.scalars(query.order_by(ErasureRow.finished_at)).all()
            return tuple(
                self._receipts.unseal(row.receipt, row.erasure_id)
                for row in rows
                if row.receipt is not None
            )

    def n_erased_since(self, at: datetime) -> int:
        """Return how many erasures took cases out of the library since then, begun ones included.

        What was computed from the cases before, such as a site adapter, is to be computed anew.
        """
        query = select(ErasureRow).where(ErasureRow.begun_at >= at)
        with Session(self._engine) as session:
            rows = session.scalars(query).all()
            return sum(
                row.receipt is None
                or self._receipts.unseal(row.receipt, row.erasure_id).n_cases > 0
                for row in rows
            )

    def tombstones(self) -> tuple[Tombstone, ...]:
        """Return every tombstone, oldest first."""
        query = select(ErasureTombstone).order_by(ErasureTombstone.erased_at, ErasureTombstone.key)
        with Session(self._engine) as session:
            return tuple(
                Tombstone(TombstoneKind(row.kind), row.key, row.erased_at)
                for row in session.scalars(query)
            )

    def add_tombstones(self, tombstones: Iterable[Tombstone]) -> None:
        """Note tombstones that another copy of the database lacks."""
        with Session(self._engine) as session, session.begin():
            for one in tombstones:
                _bury(session, one.kind, [one.key], one.erased_at)

    def patients_to_erase_again(self, patient_keys: Sequence[str]) -> tuple[str, ...]:
        """Return those of these patients who are in the library, or half gone from it."""
        with Session(self._engine) as session:
            present = values_in(session, LibraryCaseRow.patient_key, patient_keys)
            half = select(ErasureRow.patient_key).where(ErasureRow.plan.is_not(None))
            return tuple(sorted({*present, *session.scalars(half)}))

    def plan_of(self, patient_key: str) -> ErasurePlan:
        """Return what is in the library of a patient now."""
        with Session(self._engine) as session:
            return present_rows(session, patient_key)

    def owner_of_pictures(self, picture_ids: Sequence[str]) -> dict[str, str]:
        """Return picture id -> the EHR that owns it, empty for none."""
        query = select(CasePictureRow.picture_id, CasePictureRow.owner_ehr_id)
        with Session(self._engine) as session:
            rows = session.execute(query.where(CasePictureRow.picture_id.in_(picture_ids)))
            return {picture: owner or "" for picture, owner in rows}

    def shared_blobs(self, blob_keys: Sequence[str]) -> frozenset[str]:
        """Return those blobs that a picture of somebody else still shows."""
        with Session(self._engine) as session:
            return frozenset(values_in(session, CasePictureRow.blob_key, blob_keys))

    def n_rows_naming(self, ids: Sequence[str]) -> int:
        """Return how many rows of any table but the audit trail still hold one of these ids."""
        with Session(self._engine) as session:
            return sum(
                n_rows_with(session, table, column.name, ids)
                for table in models.Table.metadata.sorted_tables
                if table.name != AuditEventRow.__tablename__
                for column in table.columns
                if isinstance(column.type, String)
            )

    def named_in_audit(self, ids: Sequence[str]) -> frozenset[str]:
        """Return those ids that the audit trail holds: who looked at which case stays known."""
        with Session(self._engine) as session:
            return frozenset(
                one
                for one in ids
                if session.scalars(
                    select(AuditEventRow.audit_id)
                    .where(AuditEventRow.entity.contains(one, autoescape=True))
                    .limit(1)
                ).first()
                is not None
            )

    def compact(self) -> bool:
        """Overwrite what deleted rows left in the file; False if others keep the database busy.

        PostgreSQL frees dead rows by itself (autovacuum); here it is asked to do so now.
        """
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with connection:
            try:
                connection.execute(text("VACUUM"))
                if self._engine.dialect.name != "sqlite":
                    return True
                busy = connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).scalar()
            except OperationalError:
                return False
        return not busy

    def _moved(
        self, session: Session, running: RunningErasure, step: ErasureStep, plan: ErasurePlan
    ) -> RunningErasure:
        session.execute(
            update(ErasureRow)
            .where(ErasureRow.erasure_id == running.erasure_id)
            .values(step=step.value, plan=self._plans.seal(plan, running.erasure_id))
        )
        return replace(running, step=step, plan=plan)

    def _file_keys(self, session: Session, patient_key: str) -> list[str]:
        query = (
            select(CasePictureRow.content_key)
            .join(LibraryCaseRow, LibraryCaseRow.case_id == CasePictureRow.case_id)
            .where(LibraryCaseRow.patient_key == patient_key)
        )
        return list(session.scalars(query))

    def _names_of_studies(self, session: Session, patient_key: str) -> list[str]:
        """Return under which keys the quarantine knows the patient's studies of the archives."""
        query = select(ArchiveStudyRow).where(
            ArchiveStudyRow.patient_key == patient_key, ArchiveStudyRow.study.is_not(None)
        )
        return [
            self._rows.file_key(
                self._studies.unseal(
                    row.study or b"", f"{row.collection}/{row.study_key}"
                ).study_instance_uid
            )
            for row in session.scalars(query)
        ]

    def _delete_rejections(
        self, session: Session, patient_value: str | None, file_keys: Sequence[str]
    ) -> int:
        """Remove what the quarantine names after the patient's number or studies."""
        doomed = [
            row.rejection_id
            for row in session.scalars(select(ImportRejection))
            if row.file_key in file_keys
            or (
                patient_value
                and _names(self._rows.unseal_file(row.file, row.file_key), patient_value)
            )
        ]
        return delete_in(session, ImportRejection.rejection_id, doomed)


def is_kept_out(
    asked: Connection | Session,
    patient_key: str,
    content_keys: Sequence[str],
    owner_ehr_id: str | None,
) -> bool:
    """Tell whether patient or file were erased, or the patient has opted out of this library.

    A case that belongs to no EHR is shown to all of them: there the opt-outs of each one count.
    """
    values = {"keys": [patient_key, *content_keys], "patients": [patient_key]}
    if owner_ehr_id is None:
        return asked.scalar(_KEPT_OUT_OF_ANY, values) is not None
    return asked.scalar(_KEPT_OUT_OF_ONE, {**values, "owner": owner_ehr_id}) is not None


def is_any_kept_out(
    asked: Connection | Session, patient_keys: Sequence[str], content_keys: Sequence[str]
) -> bool:
    """Tell whether one of the patients or files was erased, or has opted out of any library."""
    values = {"keys": [*patient_keys, *content_keys], "patients": list(patient_keys)}
    return asked.scalar(_KEPT_OUT_OF_ANY, values) is not None


def erased_among(session: Session, patient_keys: Sequence[str]) -> frozenset[str]:
    """Return those of these patients for whom a tombstone stands."""
    query = select(ErasureTombstone.key).where(
        ErasureTombstone.kind == TombstoneKind.PATIENT.value,
        ErasureTombstone.key.in_(patient_keys),
    )
    return frozenset(session.scalars(query))


def _names(file: str, patient_value: str) -> bool:
    value, name = patient_value.strip().casefold(), file.casefold()
    if len(value) >= MIN_NAME_LENGTH and value in name:
        return True
    return value in re.split(r"[^0-9a-z]+", name)


def _joined(plan: ErasurePlan, found: ErasurePlan, removed: dict[str, int]) -> ErasurePlan:
    """Add what a late look found: an import may have been faster than the tombstone."""
    return replace(
        plan,
        case_ids=tuple(sorted({*plan.case_ids, *found.case_ids})),
        picture_ids=tuple(sorted({*plan.picture_ids, *found.picture_ids})),
        blob_keys=tuple(sorted({*plan.blob_keys, *found.blob_keys})),
        collections=tuple(sorted({*plan.collections, *found.collections})),
        removed={name: n + plan.removed.get(name, 0) for name, n in removed.items()},
    )


def _bury(session: Session, kind: TombstoneKind, keys: Sequence[str], at: datetime) -> None:
    for key in keys:
        if session.get(ErasureTombstone, (kind.value, key)) is None:
            session.add(ErasureTombstone(kind=kind.value, key=key, erased_at=at))
            session.flush()
