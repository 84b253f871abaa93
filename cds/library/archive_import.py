"""A hospital's own library: studies of its PACS, joined with its record, into the catalogue.

Import is a librarian's act: somebody is answerable and names the right to do it. Nothing that a
clinician asks ever comes this way.
"""

from __future__ import annotations

import uuid
from contextlib import closing

from cds.domain.errors import Reason
from cds.domain.librarian import LibrarianAct
from cds.library.archive_cases import ArchiveScope
from cds.library.archive_intake import Archives, Books, ImportPace, StudyIntake
from cds.library.archive_summary import ArchiveSummary
from cds.library.import_run import LibraryImport
from cds.library.import_summary import Progress, StartedRun
from cds.ports import AuditEvent

SOURCE_KIND = "archives"


class ArchiveImport:
    """One import of a hospital's archives.

    A study is taken up once its count of instances stands still, and claimed in the ledger. It can
    be killed at any moment: a case is added whole or not at all, a study that is in the library is
    recognised, and a claim ends by itself. Run again, it comes to the same end. Cases that are in
    the library already are brought to what the record says now.

    Parameters
    ----------
    archives, books, scope, pace
        See there.
    library
        Decodes, de-identifies and adds.

    """

    def __init__(
        self,
        archives: Archives,
        books: Books,
        library: LibraryImport,
        *,
        scope: ArchiveScope,
        pace: ImportPace,
    ) -> None:
        self._archives = archives
        self._books = books
        self._library = library
        self._scope = scope
        self._pace = pace

    def run(
        self, act: LibrarianAct, *, limit: int | None = None, progress: Progress | None = None
    ) -> ArchiveSummary:
        """Import what the librarian asked for.

        Parameters
        ----------
        act
            Who, with what right, and which studies; kept before anything is fetched.
        limit
            How many studies are looked at, at most.
        progress
            Told after each study that was taken up.

        Returns
        -------
        ArchiveSummary
            Also where a peer failed for good: `stopped` then says why.

        """
        started = StartedRun(str(uuid.uuid4()))
        ehr_id, collection = self._scope.ehr_id, self._scope.collection
        self._books.catalogue.start_run(
            started.run_id, collection=collection, source_kind=SOURCE_KIND, owner_ehr_id=ehr_id
        )
        self._books.acts.keep(started.run_id, act, owner_ehr_id=ehr_id)
        self._audit("library.import.started", act.librarian, started.run_id, "success")
        intake = StudyIntake(self._archives, self._books, self._scope, self._pace, started.run_id)
        with closing(intake.rows(act, limit)) as rows:
            library = self._library.run(
                rows,
                source_kind=SOURCE_KIND,
                collection=collection,
                progress=progress,
                started=started,
            )
        summary = ArchiveSummary.of(
            library,
            counts=intake.count,
            reasons=intake.reasons,
            gaps=intake.gaps,
            stopped=intake.stopped,
            n_cases_of_opted_out=self._books.kept_out.n_cases_in_library(),
        )
        outcome = "success" if intake.stopped is None else Reason.UPSTREAM_FAILED.value
        self._audit("library.import.finished", act.librarian, started.run_id, outcome)
        return summary

    def _audit(self, action: str, who: str, run_id: str, outcome: str) -> None:
        self._books.audit.record(
            AuditEvent(self._scope.ehr_id, action, outcome, who=who, entity=run_id)
        )
