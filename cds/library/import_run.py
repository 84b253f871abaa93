"""One run of the import: rows of a source -> cases in the catalogue, quarantine, a summary."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice

from cds.domain.case import LibraryCase, ViewGroup
from cds.domain.errors import CdsError, Reason
from cds.library.catalogue import CaseCatalogue
from cds.library.deidentification import Deidentifier
from cds.library.import_crew import ALONE, ImportCrew
from cds.library.import_summary import ImportSummary, Progress, StartedRun
from cds.library.picture_intake import (
    ERASED,
    FileToTake,
    PictureIntake,
    Taken,
    opaque_id,
    subject_of,
)
from cds.library.picture_preparation import PictureReader, PreparedPicture
from cds.library.run_tally import ReadyCase, RunTally
from cds.library.source_case import NO_PATIENT, RejectedRow, SourceCase, SourcePicture, SourceRow
from cds.library.source_files import picture_content
from cds.ports import BlobStore, IdentityKeys

MAX_REASON_LENGTH = 200
OF_ANOTHER = "the study is in the library as another patient's or another EHR's"
ROWS_AHEAD = 4  # per worker: enough that none waits, few enough that memory stays bounded
VECTORS_KEPT_TOGETHER = 32
LONGEST_WAIT_S = 1.0  # of a case for others: what a kill costs at most is done again


class LibraryImport:
    """Brings the rows of one source into a library.

    Each case is added at once or not at all, so that an interrupted run is simply run again; a
    picture is recognised by its bytes, so that a second run adds nothing. Files are decoded,
    de-identified, stored and embedded by several workers; cases are added in the order of the rows
    by one, some of them in one transaction.

    Parameters
    ----------
    catalogue, blobs, keys
        Where cases, pictures and keyed identities go.
    reader
        Decodes DICOM, JPEG and PNG files; called from as many threads as there are workers.
    deidentifier
        What everything passes before it is kept.
    crew
        How many files are taken in at a time, and whether they get their vectors at once.

    """

    def __init__(
        self,
        *,
        catalogue: CaseCatalogue,
        blobs: BlobStore,
        keys: IdentityKeys,
        reader: PictureReader,
        deidentifier: Deidentifier,
        crew: ImportCrew = ALONE,
    ) -> None:
        self._catalogue = catalogue
        self._keys = keys
        self._deidentifier = deidentifier
        self._crew = crew
        self._intake = PictureIntake(
            catalogue,
            blobs,
            keys,
            reader,
            deidentifier,
            crew.embedding.embedder if crew.embedding else None,
        )

    def run(
        self,
        rows: Iterable[SourceRow],
        *,
        source_kind: str,
        collection: str = "",
        limit: int | None = None,
        progress: Progress | None = None,
        started: StartedRun | None = None,
    ) -> ImportSummary:
        """Import rows until they end, or `limit` of them were read.

        Parameters
        ----------
        rows
            As a reader of a layout yields them.
        source_kind
            Name of the layout, for the record.
        collection
            For the record of the run, and of rows that name none.
        limit
            How many rows at most.
        progress
            Told after each row.
        started
            A run that its caller has noted in the catalogue already; None notes a new one.

        Raises
        ------
        CdsError
            INVALID_REQUEST if the source cannot be read; what is wrong with single rows or
            pictures goes to the quarantine instead.

        """
        run_id = started.run_id if started else str(uuid.uuid4())
        run = RunTally(run_id, collection, self._deidentifier.new_report())
        if started is None:
            self._catalogue.start_run(run_id, collection=collection, source_kind=source_kind)
        with self._crew.threads() as workers:
            waiting: deque[_Begun] = deque()
            for row in _first(rows, limit):
                waiting.append(self._begin(row, run, workers))
                if len(waiting) > ROWS_AHEAD * (self._crew.n_workers - 1):
                    self._finish(waiting.popleft(), run, progress)
            while waiting:
                self._finish(waiting.popleft(), run, progress)
        self._add_waiting(run)
        self._keep_vectors(run)
        summary = run.summary(
            source_kind,
            n_cases_in_library=self._catalogue.n_cases(),
            n_patients_in_library=self._catalogue.n_patients(),
        )
        self._catalogue.finish_run(run.run_id, run.counts_for_record())
        return summary

    def _begin(self, row: SourceRow, run: RunTally, workers: Executor) -> _Begun:
        """Have the files of a row taken in; what is there already is not."""
        if isinstance(row, RejectedRow):
            return _Begun(row)
        begun = _Begun(row)
        for source in row.pictures:
            file = self._file(row, source, run)
            if file is None:
                continue
            begun.files.append((source, workers.submit(self._intake.take, file)))
        return begun

    def _finish(self, begun: _Begun, run: RunTally, progress: Progress | None) -> None:
        """Add the case of a row whose files were taken in."""
        run.count["rows"] += 1
        self._finish_row(begun, run)
        self._add_if_due(run)
        if progress is not None:
            progress.advance(
                n_done=run.count["rows"],
                n_cases=run.count["cases"],
                n_quarantined=run.n_quarantined,
            )

    def _finish_row(self, begun: _Begun, run: RunTally) -> None:
        row = begun.row
        if isinstance(row, RejectedRow):
            self._reject(run, row.row_name, row.reason)
            return
        if row.is_newest:
            self._add_waiting(run)
            self._update(row, run)
        taken = [(source, waiting.result()) for source, waiting in begun.files]
        prepared = [p for p in (self._kept(source, one, run) for source, one in taken) if p]
        if not prepared:
            return
        case = self._case(row, prepared, run)
        if case is None:
            self._reject(run, row.row_name, NO_PATIENT)
            return
        self._add(ReadyCase.of(case, row, prepared), run)

    def _kept(self, source: SourcePicture, taken: Taken, run: RunTally) -> PreparedPicture | None:
        run.deidentification.include(taken.deidentification)
        if taken.is_erased:
            run.quarantined[ERASED] += 1  # counted only: its name may be the patient's
        elif taken.refusal is not None:
            self._reject(run, source.name, taken.refusal)
        return taken.prepared

    def _file(self, row: SourceCase, source: SourcePicture, run: RunTally) -> FileToTake | None:
        """Return a file that is to be taken in; None if it is there already or cannot be had."""
        try:
            content = picture_content(source)
        except CdsError as error:
            self._reject(run, source.name, error.sentence)
            return None
        content_sha256 = sha256(content).hexdigest()
        if content_sha256 in run.seen:
            run.count["duplicates"] += 1
            return None
        run.seen.add(content_sha256)
        if self._catalogue.has_file(content_sha256):
            run.count["already"] += 1
            return None
        return FileToTake(row, source, content, content_sha256)

    def _update(self, row: SourceCase, run: RunTally) -> None:
        """Bring a case that is in the library already to what is known now."""
        study_key = self._keys.study_key(row.study_instance_uid or _study_name(row))
        known = self._catalogue.case_by_study(row.collection, study_key)
        if known is None or known.owner_ehr_id != row.owner_ehr_id:
            return
        text = self._deidentifier.report_text(row, run.deidentification)
        newest = updated_case(known, row, text)
        if self._catalogue.update_case(newest, notes=row.notes, run_id=run.run_id):
            run.count["updated"] += 1

    def _case(
        self, row: SourceCase, prepared: list[PreparedPicture], run: RunTally
    ) -> LibraryCase | None:
        """Return the case; None if neither the row nor its pictures say whose it is."""
        frame = prepared[0].frame
        subject = subject_of(row, frame)
        if subject is None:
            return None
        identity = frame.identity
        study_uid = row.study_instance_uid or identity.study_instance_uid
        study_key = self._keys.study_key(study_uid or _study_name(row))
        return LibraryCase(
            case_id=opaque_id(self._keys, "case", row.collection, study_key),
            collection=row.collection,
            patient_key=self._keys.patient_key(*subject),
            study_key=study_key,
            owner_ehr_id=row.owner_ehr_id,
            modality=row.modality or frame.modality,
            body_part=row.body_part or frame.body_part,
            view_group=ViewGroup.from_view_position(row.view_position or frame.view_position),
            age_years=row.age_years,
            sex=row.sex,
            known_at=row.known_at,
            is_reference=row.is_reference,
            film_year=row.film_year,
            findings=row.findings,
            measurements=row.measurements,
            history=row.history,
            outcomes=row.outcomes,
            states_at_film=row.states_at_film,
            report_text=self._deidentifier.report_text(row, run.deidentification),
            licence=row.licence,
            pictures=tuple(p.picture for p in prepared),
        )

    def _add(self, ready: ReadyCase, run: RunTally) -> None:
        """Have a case added: at once, or with others where none of them depends on another."""
        if self._crew.cases_together == 1:
            self._add_alone(ready, run)
        elif run.has_waiting(ready.study) or self._catalogue.has_study(*ready.study):
            self._add_waiting(run)
            self._add_alone(ready, run)
        else:
            run.wait_for_others(ready)

    def _add_if_due(self, run: RunTally) -> None:
        """Add what waits once it is enough, or has waited long."""
        is_enough = len(run.waiting) >= self._crew.cases_together
        if is_enough or time.monotonic() - run.waiting_since_s >= LONGEST_WAIT_S:
            self._add_waiting(run)

    def _add_waiting(self, run: RunTally) -> None:
        """Add what waits in one transaction; where that fails, each by itself in its order."""
        waiting, run.waiting = run.waiting, []
        together = [one.new for one in waiting]
        are_added = len(waiting) > 1 and self._catalogue.add_cases(together, run_id=run.run_id)
        for one in waiting:
            if are_added:
                self._note_added(one, run)
            else:
                self._add_alone(one, run)

    def _add_alone(self, ready: ReadyCase, run: RunTally) -> None:
        case, hashes = ready.new.case, ready.new.content_sha256
        known = None
        if self._catalogue.has_study(*ready.study):
            known = self._catalogue.case_by_study(*ready.study)
        if known is not None:
            if (known.owner_ehr_id, known.patient_key) != (case.owner_ehr_id, case.patient_key):
                self._reject(run, ready.row_name, OF_ANOTHER)
            elif self._catalogue.add_pictures(known.case_id, case.pictures, hashes):
                run.count["pictures"] += len(case.pictures)
                run.vectors.update(ready.vectors)
                self._keep_vectors_if_many(run)
            return
        try:
            is_new = self._catalogue.add_case(
                case, content_sha256=hashes, notes=ready.new.notes, run_id=run.run_id
            )
        except CdsError as error:
            if error.reason is not Reason.INVALID_REQUEST:
                raise
            self._reject(run, ready.row_name, error.sentence)  # nothing of it is cut off
            return
        if is_new:
            self._note_added(ready, run)
        else:
            run.count["already"] += len(case.pictures)  # another importer was faster

    def _note_added(self, ready: ReadyCase, run: RunTally) -> None:
        run.note_added(ready)
        self._keep_vectors_if_many(run)

    def _reject(self, run: RunTally, name: str, reason: str) -> None:
        reason = reason[:MAX_REASON_LENGTH]
        run.quarantined[reason] += 1
        self._catalogue.reject(run.run_id, collection=run.collection, file=name, reason=reason)

    def _keep_vectors_if_many(self, run: RunTally) -> None:
        if len(run.vectors) >= VECTORS_KEPT_TOGETHER:
            self._keep_vectors(run)

    def _keep_vectors(self, run: RunTally) -> None:
        embedding = self._crew.embedding
        if embedding is not None and run.vectors:
            embedding.embeddings.add_embeddings(embedding.embedder.encoder_hash, run.vectors)
            run.vectors = {}


def updated_case(
    known: LibraryCase, row: SourceCase, report_text: str | None = None
) -> LibraryCase:
    """Return a case with what is known now; its identity, pictures and view stay."""
    return replace(
        known,
        age_years=row.age_years,
        sex=row.sex,
        known_at=row.known_at,
        findings=row.findings,
        measurements=row.measurements,
        history=row.history,
        outcomes=row.outcomes,
        states_at_film=row.states_at_film,
        report_text=report_text,
    )


def _study_name(row: SourceCase) -> str:
    return f"{row.collection}\n{row.study_name}"


def _first(rows: Iterable[SourceRow], limit: int | None) -> Iterable[SourceRow]:
    return rows if limit is None else islice(rows, limit)


@dataclass(slots=True)
class _Begun:
    """A row whose files are being taken in."""

    row: SourceRow
    files: list[tuple[SourcePicture, Future[Taken]]] = field(default_factory=list)
