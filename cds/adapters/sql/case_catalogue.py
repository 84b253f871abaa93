"""The library's cases and pictures in the database."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Engine, bindparam, delete, distinct, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cds.adapters.sql.case_rows import CaseRows, finding_rows
from cds.adapters.sql.erasure import is_any_kept_out, is_kept_out
from cds.adapters.sql.librarian_models import CaseUpdateRow
from cds.adapters.sql.models import (
    CaseFindingRow,
    CasePictureRow,
    ImportRejection,
    ImportRun,
    LibraryCaseRow,
    Table,
)
from cds.adapters.sql.types import check_texts
from cds.domain.case import CasePicture, LibraryCase, NewCase
from cds.domain.errors import CdsError, Reason

BATCH = 500  # rows per query; below SQLite's limit of bound variables
# Asked for each file: made once, since building a statement takes longer than asking SQLite.
_PICTURE_OF_FILE = (
    select(CasePictureRow.picture_id)
    .where(CasePictureRow.content_key == bindparam("content_key"))
    .limit(1)
)
_CASE_OF_STUDY = select(LibraryCaseRow.case_id).where(
    LibraryCaseRow.collection == bindparam("collection"),
    LibraryCaseRow.study_key == bindparam("study_key"),
)


class SqlCaseCatalogue:
    """Cases, their pictures and findings, runs of the import and its quarantine.

    Implements `cds.library.catalogue.CaseCatalogue`.
    """

    def __init__(self, engine: Engine, rows: CaseRows) -> None:
        self._engine = engine
        self._rows = rows

    def start_run(
        self, run_id: str, *, collection: str, source_kind: str, owner_ehr_id: str | None = None
    ) -> None:
        """Note that an import has begun."""
        row = ImportRun(
            run_id=run_id,
            owner_ehr_id=owner_ehr_id,
            collection=collection,
            source_kind=source_kind,
            state="running",
            counts="{}",
            started_at=datetime.now(UTC),
        )
        with Session(self._engine) as session, session.begin():
            session.add(row)

    def finish_run(self, run_id: str, counts: Mapping[str, int]) -> None:
        """Note what an import did."""
        values = {
            "state": "finished",
            "counts": json.dumps(dict(counts)),
            "finished_at": datetime.now(UTC),
        }
        with Session(self._engine) as session, session.begin():
            session.execute(update(ImportRun).where(ImportRun.run_id == run_id).values(**values))

    def has_file(self, content_sha256: str) -> bool:
        """Tell whether a picture with exactly these bytes is in the library."""
        key = self._rows.content_key(content_sha256)
        with self._engine.connect() as connection:
            return connection.scalar(_PICTURE_OF_FILE, {"content_key": key}) is not None

    def has_study(self, collection: str, study_key: str) -> bool:
        """Tell whether a study of a collection is in the library."""
        values = {"collection": collection, "study_key": study_key}
        with self._engine.connect() as connection:
            return connection.scalar(_CASE_OF_STUDY, values) is not None

    def add_case(
        self,
        case: LibraryCase,
        *,
        content_sha256: Sequence[str],
        notes: Mapping[str, str],
        run_id: str | None = None,
    ) -> bool:
        """Add a case with its pictures, all or nothing; False if it is there or was erased.

        Raises
        ------
        CdsError
            INVALID_REQUEST if a text is too long for its column, or holds a NUL.

        """
        row = self._rows.case_row(case, notes, run_id, datetime.now(UTC))
        parts = [*self._rows.picture_rows(case, content_sha256), *finding_rows(case)]
        check_texts([row, *parts])
        try:
            with Session(self._engine) as session, session.begin():
                session.add(row)
                session.flush()
                session.add_all(parts)
                return self._unless_kept_out(session, case, content_sha256)
        except IntegrityError:
            return False

    def add_cases(self, new: Sequence[NewCase], *, run_id: str | None = None) -> bool:
        """Add cases with their pictures in one transaction, all of them or none.

        Returns
        -------
        bool
            False if one of them cannot be added, for whatever reason: nothing was added, and
            `add_case` says of each what became of it.

        Raises
        ------
        CdsError
            STORAGE_UNAVAILABLE if the database does not take them; nothing was added.

        """
        at = datetime.now(UTC)
        in_order = sorted(new, key=lambda one: one.case.case_id)  # the same for every importer
        rows = [self._rows.case_row(one.case, one.notes, run_id, at) for one in in_order]
        parts: list[Table] = []
        for one in in_order:
            parts += self._rows.picture_rows(one.case, one.content_sha256)
            parts += finding_rows(one.case)
        patients = [one.case.patient_key for one in new]
        keys = [self._rows.content_key(digest) for one in new for digest in one.content_sha256]
        try:
            check_texts([*rows, *parts])
            with Session(self._engine) as session, session.begin():
                session.add_all(rows)
                session.flush()
                session.add_all(parts)
                session.flush()
                if is_any_kept_out(session, patients, keys):
                    session.rollback()
                    return False
                return True
        except IntegrityError:
            return False
        except CdsError as error:
            if error.reason is not Reason.INVALID_REQUEST:
                raise
            return False

    def add_pictures(
        self, case_id: str, pictures: Sequence[CasePicture], content_sha256: Sequence[str]
    ) -> bool:
        """Add further pictures to a case; False if it is absent or has one of them already."""
        try:
            with Session(self._engine) as session, session.begin():
                row = session.get(LibraryCaseRow, case_id)
                if row is None:
                    return False
                position = session.scalar(
                    select(func.count()).where(CasePictureRow.case_id == case_id)
                )
                case = replace(self._rows.case(row, ()), pictures=tuple(pictures))
                session.add_all(self._rows.picture_rows(case, content_sha256, position or 0))
                return self._unless_kept_out(session, case, content_sha256)
        except IntegrityError:
            return False

    def is_kept_out(
        self, patient_key: str, content_sha256: str, *, owner_ehr_id: str | None = None
    ) -> bool:
        """Tell whether patient or file were erased, or the patient has opted out."""
        key = self._rows.content_key(content_sha256)
        with self._engine.connect() as connection:
            return is_kept_out(connection, patient_key, [key], owner_ehr_id)

    def _unless_kept_out(
        self, session: Session, case: LibraryCase, content_sha256: Sequence[str]
    ) -> bool:
        """Look again in the transaction that writes: an erasure may be under way."""
        session.flush()
        keys = [self._rows.content_key(one) for one in content_sha256]
        if is_kept_out(session, case.patient_key, keys, case.owner_ehr_id):
            session.rollback()
            return False
        return True

    def update_case(
        self, case: LibraryCase, *, notes: Mapping[str, str], run_id: str | None = None
    ) -> bool:
        """Replace what is known of a case, all or nothing; False if absent or unchanged."""
        with Session(self._engine) as session, session.begin():
            row = session.get(LibraryCaseRow, case.case_id, with_for_update=True)
            if row is None:
                return False
            bare = replace(case, pictures=())
            if self._rows.case(row, ()) == bare and self._rows.notes(row) == dict(notes):
                return False
            self._rows.update_row(row, bare, notes)
            session.execute(delete(CaseFindingRow).where(CaseFindingRow.case_id == case.case_id))
            session.add_all(finding_rows(case))
            session.add(
                CaseUpdateRow(
                    case_id=case.case_id,
                    owner_ehr_id=case.owner_ehr_id,
                    run_id=run_id,
                    updated_at=datetime.now(UTC),
                )
            )
        return True

    def n_updated_since(self, at: datetime) -> int:
        """Return how many cases later knowledge has changed since a time."""
        query = select(func.count(distinct(CaseUpdateRow.case_id)))
        with Session(self._engine) as session:
            return session.scalar(query.where(CaseUpdateRow.updated_at >= at)) or 0

    def reject(self, run_id: str, *, collection: str, file: str, reason: str) -> None:
        """Put a file or row in quarantine; the same file and reason are noted once."""
        key = self._rows.file_key(file)
        row = ImportRejection(
            run_id=run_id,
            collection=collection,
            file_key=key,
            file=self._rows.seal_file(file, key),
            reason=reason,
            created_at=datetime.now(UTC),
        )
        try:
            with Session(self._engine) as session, session.begin():
                run = session.get(ImportRun, run_id)
                row.owner_ehr_id = None if run is None else run.owner_ehr_id
                session.add(row)
        except IntegrityError:
            return

    def rejections(self) -> Mapping[str, int]:
        """Return reason -> number of files or rows in quarantine."""
        query = select(ImportRejection.reason, func.count()).group_by(ImportRejection.reason)
        with Session(self._engine) as session:
            return {str(reason): count for reason, count in session.execute(query)}

    def rejected_files(self) -> tuple[tuple[str, str], ...]:
        """Return (file, reason) of everything in quarantine; file names may hold identities."""
        with Session(self._engine) as session:
            rows = session.scalars(select(ImportRejection).order_by(ImportRejection.rejection_id))
            return tuple((self._rows.unseal_file(r.file, r.file_key), r.reason) for r in rows)

    def case_by_id(self, case_id: str) -> LibraryCase | None:
        """Return a case, or None."""
        return self.cases([case_id]).get(case_id)

    def cases(self, case_ids: Sequence[str]) -> Mapping[str, LibraryCase]:
        """Return the cases that exist among these ids."""
        found: dict[str, LibraryCase] = {}
        with Session(self._engine) as session:
            for start in range(0, len(case_ids), BATCH):
                query = select(LibraryCaseRow).where(
                    LibraryCaseRow.case_id.in_(case_ids[start : start + BATCH])
                )
                for case in self._with_pictures(session, session.scalars(query).all()):
                    found[case.case_id] = case
        return found

    def case_by_study(self, collection: str, study_key: str) -> LibraryCase | None:
        """Return the case of a study of a collection, or None."""
        query = select(LibraryCaseRow).where(
            LibraryCaseRow.collection == collection, LibraryCaseRow.study_key == study_key
        )
        with Session(self._engine) as session:
            return next(iter(self._with_pictures(session, session.scalars(query).all())), None)

    def iter_cases(self) -> Iterator[LibraryCase]:
        """Return every case, by id; read in batches, so that a reader blocks nobody."""
        after = ""
        while True:
            query = (
                select(LibraryCaseRow)
                .where(LibraryCaseRow.case_id > after)
                .order_by(LibraryCaseRow.case_id)
                .limit(BATCH)
            )
            with Session(self._engine) as session:
                batch = list(self._with_pictures(session, session.scalars(query).all()))
            if not batch:
                return
            yield from batch
            after = batch[-1].case_id

    def notes_of(self, case_id: str) -> Mapping[str, str]:
        """Return what the source said and nobody is shown; empty if there is no such case."""
        with Session(self._engine) as session:
            row = session.get(LibraryCaseRow, case_id)
            return {} if row is None else self._rows.notes(row)

    def n_cases(self) -> int:
        """Return how many cases there are."""
        with Session(self._engine) as session:
            return session.scalar(select(func.count()).select_from(LibraryCaseRow)) or 0

    def n_patients(self) -> int:
        """Return how many distinct patients there are."""
        with Session(self._engine) as session:
            return session.scalar(select(func.count(distinct(LibraryCaseRow.patient_key)))) or 0

    def n_pictures(self) -> int:
        """Return how many pictures there are."""
        with Session(self._engine) as session:
            return session.scalar(select(func.count()).select_from(CasePictureRow)) or 0

    def n_patients_by_finding(self) -> Mapping[str, int]:
        """Return coding key -> distinct patients with that finding or diagnosis."""
        key = func.coalesce(CaseFindingRow.code, func.lower(CaseFindingRow.display))
        query = (
            select(key, func.count(distinct(LibraryCaseRow.patient_key)))
            .join(LibraryCaseRow, LibraryCaseRow.case_id == CaseFindingRow.case_id)
            .group_by(key)
        )
        with Session(self._engine) as session:
            return {str(found): count for found, count in session.execute(query)}

    def _with_pictures(
        self, session: Session, rows: Sequence[LibraryCaseRow]
    ) -> Iterator[LibraryCase]:
        query = (
            select(CasePictureRow)
            .where(CasePictureRow.case_id.in_([row.case_id for row in rows]))
            .order_by(CasePictureRow.case_id, CasePictureRow.position)
        )
        pictures: dict[str, list[CasePictureRow]] = defaultdict(list)
        for picture in session.scalars(query):
            pictures[picture.case_id].append(picture)
        for row in rows:
            yield self._rows.case(row, pictures[row.case_id])
