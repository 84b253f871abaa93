"""Rows of one patient across the tables: found, counted, deleted within a session of the caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CursorResult, Result, Table, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from cds.adapters.sql import models
from cds.adapters.sql.models import CasePictureRow, LibraryCaseRow
from cds.domain.erasure import ErasurePlan

Column = InstrumentedAttribute[Any]

BATCH = 500  # below SQLite's limit of bound variables
# The record of other patients, the audit trail, what keeps the patient out, and the log of changes
# (opaque ids) by which readers learn that a case is gone. The lives of answers stay with their
# answers: without its life a withdrawn answer would be served again.
KEPT_TABLES = frozenset(
    {
        *("analysis_result", "audit_event", "erasure", "erasure_tombstone", "opt_out"),
        *("library_change", "precompute_exclusion", "result_life"),
    }
)
OWN_TABLES = frozenset({"library_case", "case_picture", "case_embedding", "case_finding"})


def present_rows(session: Session, patient_key: str) -> ErasurePlan:
    """Return what the library holds of a patient."""
    case_ids = column_of(session, LibraryCaseRow.case_id, patient_key)
    pictures = session.execute(
        select(CasePictureRow.picture_id, CasePictureRow.blob_key)
        .where(CasePictureRow.case_id.in_(case_ids))
        .order_by(CasePictureRow.picture_id)
    ).all()
    return ErasurePlan(
        case_ids=tuple(case_ids),
        picture_ids=tuple(picture for picture, _ in pictures),
        blob_keys=tuple(sorted({blob for _, blob in pictures})),
        collections=tuple(sorted(set(column_of(session, LibraryCaseRow.collection, patient_key)))),
    )


def column_of(session: Session, column: Column, patient_key: str) -> list[str]:
    """Return a column of the patient's cases, in order."""
    query = select(column).where(LibraryCaseRow.patient_key == patient_key)
    return list(session.scalars(query.order_by(column)))


def values_in(session: Session, column: Column, values: Sequence[str]) -> list[str]:
    """Return those of the values that the column holds."""
    found: list[str] = []
    for start in range(0, len(values), BATCH):
        query = select(column).where(column.in_(values[start : start + BATCH]))
        found.extend(session.scalars(query.distinct()))
    return found


def delete_in(session: Session, column: Column, values: Sequence[str] | Sequence[int]) -> int:
    """Delete the rows whose column holds one of the values; return how many."""
    n_deleted = 0
    for start in range(0, len(values), BATCH):
        condition = column.in_(values[start : start + BATCH])
        n_deleted += _n_rows(session.execute(delete(column.class_).where(condition)))
    return n_deleted


def delete_elsewhere(
    session: Session, patient_key: str, study_keys: Sequence[str], case_ids: Sequence[str]
) -> dict[str, int]:
    """Remove the patient's rows from every other table that names patient, study or case."""
    removed = {}
    for table in models.Table.metadata.sorted_tables:
        if table.name in KEPT_TABLES | OWN_TABLES:
            continue
        n_rows = sum(
            _delete_by(session, table, name, values)
            for name, values in (
                ("patient_key", [patient_key]),
                ("study_key", study_keys),
                ("case_id", case_ids),
            )
            if name in table.columns
        )
        if n_rows:
            removed[table.name] = n_rows
    return removed


def _delete_by(session: Session, table: Table, name: str, values: Sequence[str]) -> int:
    n_deleted = 0
    for start in range(0, len(values), BATCH):
        condition = table.columns[name].in_(values[start : start + BATCH])
        n_deleted += _n_rows(session.execute(delete(table).where(condition)))
    return n_deleted


def n_rows_with(session: Session, table: Table, name: str, ids: Sequence[str]) -> int:
    """Return how many rows of a table hold one of the ids in a column."""
    n_found = 0
    for start in range(0, len(ids), BATCH):
        condition = table.columns[name].in_(ids[start : start + BATCH])
        n_found += session.scalar(select(func.count()).select_from(table).where(condition)) or 0
    return n_found


def _n_rows(done: Result[Any]) -> int:
    return done.rowcount if isinstance(done, CursorResult) else 0
