"""Who is kept out of a library, and who brought cases into it."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cds.adapters.crypto import FieldCipher
from cds.adapters.sql.erasure import erased_among
from cds.adapters.sql.librarian_models import LibrarianActRow, OptOutRow
from cds.adapters.sql.models import LibraryCaseRow
from cds.adapters.sql.sealed_json import SealedJson
from cds.domain.librarian import LibrarianAct
from cds.ports import Clock

BATCH = 500  # below SQLite's limit of bound variables


class SqlOptOuts:
    """Opt-outs as keyed hashes; implements `cds.library.archive_ports.OptOuts`."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def add(self, ehr_id: str, patient_keys: Collection[str], *, source: str) -> None:
        """Keep patients out; who is kept out already stays so."""
        keys = sorted(patient_keys)
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            try:
                self._add(ehr_id, batch, source)
            except IntegrityError:  # somebody else added one of them in this moment
                self._add(ehr_id, batch, source)

    def _add(self, ehr_id: str, batch: list[str], source: str) -> None:
        known = select(OptOutRow.patient_key).where(
            OptOutRow.owner_ehr_id == ehr_id,
            OptOutRow.source == source,
            OptOutRow.patient_key.in_(batch),
        )
        with Session(self._engine) as session, session.begin():
            missing = set(batch) - set(session.scalars(known))
            session.add_all(
                OptOutRow(
                    owner_ehr_id=ehr_id,
                    patient_key=patient_key,
                    source=source,
                    created_at=self._clock.now(),
                )
                for patient_key in sorted(missing)
            )

    def remove(self, ehr_id: str, patient_keys: Collection[str], *, source: str) -> None:
        """Take patients off the list of one source."""
        query = delete(OptOutRow).where(
            OptOutRow.owner_ehr_id == ehr_id,
            OptOutRow.patient_key.in_(sorted(patient_keys)),
            OptOutRow.source == source,
        )
        with Session(self._engine) as session, session.begin():
            session.execute(query)

    def sources(self, ehr_id: str, patient_keys: Collection[str]) -> frozenset[str]:
        """Return who keeps one of these keys out: ``list``, ``record``, both or nobody.

        Who was erased is kept out like somebody on the list: nothing is read of him again.
        """
        keys = sorted(patient_keys)[:BATCH]
        query = select(OptOutRow.source).where(
            OptOutRow.owner_ehr_id == ehr_id, OptOutRow.patient_key.in_(keys)
        )
        with Session(self._engine) as session:
            erased = {"list"} if erased_among(session, keys) else set()
            return frozenset({*session.scalars(query), *erased})

    def n_cases_in_library(self, ehr_id: str) -> int:
        """Return how many cases of this EHR's library are of patients who are kept out now."""
        kept_out = select(OptOutRow.patient_key).where(OptOutRow.owner_ehr_id == ehr_id)
        query = (
            select(func.count())
            .select_from(LibraryCaseRow)
            .where(LibraryCaseRow.owner_ehr_id == ehr_id, LibraryCaseRow.patient_key.in_(kept_out))
        )
        with Session(self._engine) as session:
            return session.scalar(query) or 0


class SqlLibrarianActs:
    """Who ran an import, encrypted; implements `cds.library.archive_ports.LibrarianActs`."""

    def __init__(self, engine: Engine, cipher: FieldCipher, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._sealed = SealedJson(LibrarianAct, cipher, "librarian_act.act")

    def keep(self, run_id: str, act: LibrarianAct, *, owner_ehr_id: str) -> None:
        """Keep the act of a run that has been noted."""
        row = LibrarianActRow(
            run_id=run_id,
            owner_ehr_id=owner_ehr_id,
            act=self._sealed.seal(act, run_id),
            created_at=self._clock.now(),
        )
        with Session(self._engine) as session, session.begin():
            session.add(row)

    def by_run(self, run_id: str) -> LibrarianAct | None:
        """Return the act of a run, None if it was no librarian's."""
        with Session(self._engine) as session:
            row = session.get(LibrarianActRow, run_id)
            return None if row is None else self._sealed.unseal(row.act, run_id)
