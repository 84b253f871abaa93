"""What an erasure may have left: stored answers, pages of a file, ids anywhere, old index maps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from cds.adapters.crypto import FieldCipher
from cds.adapters.record_spool import remove_abandoned_exports
from cds.adapters.sql.door_models import AnalysisResult, HookCall
from cds.adapters.sql.erasure import SqlErasures
from cds.adapters.sql.sealed_json import SealedJson
from cds.domain.report import CaseReport, Neighbor

REMOVED_CASE = "removed"
ON_REQUEST = "removed on request"
ENCODINGS = ("ascii", "utf-32-le")  # NumPy's text columns in an index have four bytes a letter
_READ_BYTES = 1 << 22
_PROC = Path("/proc")


class StateTraces:
    """Looks through one installation; implements `cds.library.erasure.Traces`.

    Parameters
    ----------
    engine, cipher
        Of the installation's database.
    erasures
        Compacts the database.
    state_dir
        Folder whose files are looked through.

    """

    def __init__(
        self, engine: Engine, cipher: FieldCipher, erasures: SqlErasures, state_dir: Path
    ) -> None:
        self._engine = engine
        self._reports = SealedJson(CaseReport, cipher, "analysis_result.report")
        self._answers = SealedJson(dict[str, Any], cipher, "hook_call.answer")
        self._erasures = erasures
        self._state_dir = state_dir

    def redact_answers(self, case_ids: Sequence[str]) -> int:
        """Blank the cases in stored answers and drop hook answers that name one.

        Every n stays as it was reported; what was shown of the case is gone.
        """
        erased = frozenset(case_ids)
        if not erased:
            return 0
        return self._redact_reports(erased) + self._drop_hook_answers(erased)

    def compact(self) -> bool:
        """Overwrite what deleted rows left in the database's file; remove abandoned exports."""
        remove_abandoned_exports(self._state_dir)
        return self._erasures.compact()

    def find(self, ids: Sequence[str]) -> int:
        """Return in how many files of the state folder and rows of the database an id is found.

        The audit trail keeps the opaque id of a case that somebody looked at: the database's own
        file is not searched for those, its tables are.
        """
        if not ids:
            return 0
        in_audit = self._erasures.named_in_audit(ids)
        elsewhere = [one for one in ids if one not in in_audit]
        database = str(self._engine.url.database or "")
        files = (f for f in self._state_dir.rglob("*") if f.is_file() and not f.is_symlink())
        n_files = sum(
            self._holds(file, elsewhere if str(file).startswith(database) else ids)
            for file in sorted(files)
        )
        return n_files + self._erasures.n_rows_naming(ids)

    def named_in_audit(self, case_ids: Sequence[str]) -> int:
        """Return how many of these cases the audit trail names."""
        return len(self._erasures.named_in_audit(case_ids))

    def readers_of(self, generation_ids: Sequence[str]) -> int | None:
        """Return how many processes of this machine map files of these generations."""
        if not _PROC.is_dir():
            return None
        return sum(
            any(generation in maps for generation in generation_ids) for maps in _process_maps()
        )

    def _holds(self, file: Path, ids: Sequence[str]) -> bool:
        name = str(file.relative_to(self._state_dir))
        patterns = [one.encode(encoding) for one in ids for encoding in ENCODINGS]
        return any(one in name for one in ids) or (bool(patterns) and _holds_any(file, patterns))

    def _redact_reports(self, erased: frozenset[str]) -> int:
        n_changed = 0
        with Session(self._engine) as session, session.begin():
            for row in session.scalars(select(AnalysisResult)).all():
                place = f"{row.ehr_id}/{row.report_id}"
                report = self._reports.unseal(row.report, place)
                if not any(neighbor.case_id in erased for neighbor in report.neighbors):
                    continue
                session.execute(
                    update(AnalysisResult)
                    .where(
                        AnalysisResult.ehr_id == row.ehr_id,
                        AnalysisResult.report_id == row.report_id,
                    )
                    .values(report=self._reports.seal(redacted(report, erased), place))
                )
                n_changed += 1
        return n_changed

    def _drop_hook_answers(self, erased: frozenset[str]) -> int:
        """Remove kept hook answers that name a case; such a hook is answered anew."""
        n_dropped = 0
        with Session(self._engine) as session, session.begin():
            for row in session.scalars(select(HookCall)).all():
                place = (row.ehr_id, row.cds_service, row.hook_instance)
                answer = json.dumps(self._answers.unseal(row.answer, "/".join(place)))
                if any(case_id in answer for case_id in erased):
                    session.execute(
                        delete(HookCall).where(
                            HookCall.ehr_id == row.ehr_id,
                            HookCall.cds_service == row.cds_service,
                            HookCall.hook_instance == row.hook_instance,
                        )
                    )
                    n_dropped += 1
        return n_dropped


def redacted(report: CaseReport, erased: frozenset[str]) -> CaseReport:
    """Return the answer with the erased cases blanked; every count stays as reported."""
    neighbors = tuple(blanked(n) if n.case_id in erased else n for n in report.neighbors)
    return replace(report, neighbors=neighbors)


def blanked(neighbor: Neighbor) -> Neighbor:
    """Return a neighbour of which only rank and similarity are left.

    Examples
    --------
    >>> one = blanked(Neighbor(2, "c", "p", 0.9, 0.9, None, "A", "PA", "60-69", "male", 2020, ()))
    >>> one.rank, one.case_id, one.picture_id, one.age_band, one.film_year
    (2, 'removed', None, 'removed on request', None)

    """
    return Neighbor(
        rank=neighbor.rank,
        case_id=REMOVED_CASE,
        picture_id=None,
        similarity=neighbor.similarity,
        image_similarity=neighbor.image_similarity,
        record_similarity=neighbor.record_similarity,
        collection=ON_REQUEST,
        view="other",
        age_band=ON_REQUEST,
        sex="unknown",
        film_year=None,
        findings=(),
    )


def _holds_any(file: Path, patterns: Sequence[bytes]) -> bool:
    overlap = max(map(len, patterns)) - 1
    tail = b""
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_READ_BYTES):
                window = tail + chunk
                if any(pattern in window for pattern in patterns):
                    return True
                tail = window[-overlap:]
    except FileNotFoundError:  # a journal that came and went
        return False
    return False


def _process_maps() -> Iterator[str]:
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                yield (folder / "maps").read_text("utf-8", "replace")
            except OSError:  # another user's process, or one that has ended
                continue
