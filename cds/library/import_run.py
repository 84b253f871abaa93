"""One run of the import: rows of a source -> cases in the catalogue, quarantine, a summary."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path

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
from cds.library.picture_preparation import (
    MAX_FILE_BYTES,
    TOO_LARGE,
    PictureReader,
    PreparedPicture,
)
from cds.library.run_tally import RunTally
from cds.library.source_case import NO_PATIENT, RejectedRow, SourceCase, SourcePicture, SourceRow
from cds.ports import BlobStore, IdentityKeys

MAX_REASON_LENGTH = 200
OF_ANOTHER = "the study is in the library as another patient's or another EHR's"
UNREADABLE_FILE = "the file cannot be opened"
ROWS_AHEAD = 4  # per worker: enough that none waits, few enough that memory stays bounded
VECTORS_KEPT_TOGETHER = 32


class LibraryImport:
    """Brings the rows of one source into a library.

    Each case is added at once or not at all, so that an interrupted run is simply run again; a
    picture is recognised by its bytes, so that a second run adds nothing. Files are decoded,
    de-identified, stored and embedded by several workers; cases are added in the order of the rows
    by one.

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
            self._update(row, run)
        taken = [(source, waiting.result()) for source, waiting in begun.files]
        prepared = [p for p in (self._kept(source, one, run) for source, one in taken) if p]
        if not prepared:
            return
        case = self._case(row, prepared, run)
        if case is None:
            self._reject(run, row.row_name, NO_PATIENT)
            return
        self._add(case, row, prepared, run)

    def _kept(self, source: SourcePicture, taken: Taken, run: RunTally) -> PreparedPicture | None:
        run.deidentification.include(taken.deidentification)
        if taken.is_erased:
            run.quarantined[ERASED] += 1  # counted only: its name may be the patient's
        elif taken.refusal is not None:
            self._reject(run, source.name, taken.refusal)
        return taken.prepared

    def _file(self, row: SourceCase, source: SourcePicture, run: RunTally) -> FileToTake | None:
        """Return a file that is to be taken in; None if it is there already or cannot be had."""
        content = self._content(source, run)
        if content is None:
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

    def _content(self, source: SourcePicture, run: RunTally) -> bytes | None:
        """Return the bytes of a picture; None if they cannot be had, with the reason noted."""
        if source.content is not None:
            if len(source.content) <= MAX_FILE_BYTES:
                return source.content
            self._reject(run, source.name, TOO_LARGE)
            return None
        if source.file is None:
            self._reject(run, source.name, source.missing_reason)
            return None
        try:
            content = _regular_content(source.file)
        except OSError:
            self._reject(run, source.name, UNREADABLE_FILE)
            return None
        if len(content) > MAX_FILE_BYTES:
            self._reject(run, source.name, TOO_LARGE)
            return None
        return content

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

    def _add(
        self, case: LibraryCase, row: SourceCase, prepared: list[PreparedPicture], run: RunTally
    ) -> None:
        hashes = [p.content_sha256 for p in prepared]
        known = self._catalogue.case_by_study(case.collection, case.study_key)
        if known is not None:
            if (known.owner_ehr_id, known.patient_key) != (case.owner_ehr_id, case.patient_key):
                self._reject(run, row.row_name, OF_ANOTHER)
                return
            if self._catalogue.add_pictures(known.case_id, case.pictures, hashes):
                run.count["pictures"] += len(prepared)
                self._note_vectors(prepared, run)
            return
        try:
            is_new = self._catalogue.add_case(
                case, content_sha256=hashes, notes=row.notes, run_id=run.run_id
            )
        except CdsError as error:
            if error.reason is not Reason.INVALID_REQUEST:
                raise
            self._reject(run, row.row_name, error.sentence)  # nothing of it is cut off
            return
        if not is_new:
            run.count["already"] += len(prepared)  # another importer was faster
            return
        run.count["cases"] += 1
        run.count["pictures"] += len(prepared)
        run.patients.add(case.patient_key)
        self._note_vectors(prepared, run)
        run.set_aside.update(f"{one.display}: {one.reason}" for one in row.set_aside)

    def _reject(self, run: RunTally, name: str, reason: str) -> None:
        reason = reason[:MAX_REASON_LENGTH]
        run.quarantined[reason] += 1
        self._catalogue.reject(run.run_id, collection=run.collection, file=name, reason=reason)

    def _note_vectors(self, prepared: list[PreparedPicture], run: RunTally) -> None:
        for one in prepared:
            if one.vector is not None:
                run.vectors[one.picture.picture_id] = one.vector
        if len(run.vectors) >= VECTORS_KEPT_TOGETHER:
            self._keep_vectors(run)

    def _keep_vectors(self, run: RunTally) -> None:
        embedding = self._crew.embedding
        if embedding is not None and run.vectors:
            embedding.embeddings.add_embeddings(embedding.embedder.encoder_hash, run.vectors)
            run.vectors = {}


def _regular_content(file: Path) -> bytes:
    """Return a file's bytes, at most one more than are allowed.

    Raises
    ------
    OSError
        If it cannot be read, or is a pipe or device: it would have no end, or never answer.

    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return stream.read(min(status.st_size, MAX_FILE_BYTES) + 1)


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
