"""One run of the import: rows of a source -> cases in the catalogue, quarantine, a summary."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from cds.domain.case import LibraryCase, ViewGroup
from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from cds.library.catalogue import CaseCatalogue
from cds.library.deidentification import Deidentifier
from cds.library.deidentification_report import DeidentificationReport
from cds.library.picture_preparation import (
    MAX_FILE_BYTES,
    TOO_LARGE,
    PictureReader,
    PreparedPicture,
    prepare,
    read_frame,
)
from cds.library.source_case import NO_PATIENT, RejectedRow, SourceCase, SourcePicture, SourceRow
from cds.ports import BlobStore, IdentityKeys

ID_LENGTH = 24  # hex digits of a keyed hash: 96 bits
MAX_REASON_LENGTH = 200
ERASED = "the patient was erased from the library or has objected"
NOT_THE_PICTURES = frozenset(
    {Reason.STORAGE_UNAVAILABLE, Reason.MODEL_UNAVAILABLE, Reason.INVALID_CONFIGURATION}
)  # troubles of the installation: they end the run, and no picture is set apart for them
UNREADABLE_FILE = "the file cannot be opened"


class Progress(Protocol):
    """Told after each row, so that a command line can show it."""

    def advance(self, *, n_done: int, n_cases: int, n_quarantined: int) -> None:
        """Show how far the run is."""
        ...


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What one run did.

    Attributes
    ----------
    n_rows
        Studies that the source named.
    n_cases, n_pictures
        Added by this run.
    n_already, n_duplicates
        Pictures that were in the library before, and pictures whose very bytes another row of this
        run had: neither is doubled.
    quarantined
        Reason -> files or rows set apart in this run.
    set_aside
        ``field: reason`` -> values that were read but not used.
    deidentification
        What was removed, replaced and set apart (`DeidentificationReport.to_json`).
    n_cases_in_library, n_patients_in_library
        Afterwards.

    """

    run_id: str
    source_kind: str
    n_rows: int = 0
    n_cases: int = 0
    n_patients: int = 0
    n_pictures: int = 0
    n_already: int = 0
    n_duplicates: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)
    set_aside: Mapping[str, int] = field(default_factory=dict)
    deidentification: Mapping[str, Any] = field(default_factory=dict)
    n_cases_in_library: int = 0
    n_patients_in_library: int = 0

    @property
    def n_quarantined(self) -> int:
        """Return how many files or rows were set apart."""
        return sum(self.quarantined.values())

    def to_json(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        return {**asdict(self), "n_quarantined": self.n_quarantined}


class LibraryImport:
    """Brings the rows of one source into a library.

    Each case is added at once or not at all, so that an interrupted run is simply run again; a
    picture is recognised by its bytes, so that a second run adds nothing.

    Parameters
    ----------
    catalogue, blobs, keys
        Where cases, pictures and keyed identities go.
    reader
        Decodes DICOM, JPEG and PNG files.
    deidentifier
        What everything passes before it is kept.

    """

    def __init__(
        self,
        *,
        catalogue: CaseCatalogue,
        blobs: BlobStore,
        keys: IdentityKeys,
        reader: PictureReader,
        deidentifier: Deidentifier,
    ) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._keys = keys
        self._reader = reader
        self._deidentifier = deidentifier

    def run(
        self,
        rows: Iterable[SourceRow],
        *,
        source_kind: str,
        collection: str = "",
        limit: int | None = None,
        progress: Progress | None = None,
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

        Raises
        ------
        CdsError
            INVALID_REQUEST if the source cannot be read; what is wrong with single rows or
            pictures goes to the quarantine instead.

        """
        run = _Run(str(uuid.uuid4()), collection, self._deidentifier.new_report())
        self._catalogue.start_run(run.run_id, collection=collection, source_kind=source_kind)
        for n_done, row in enumerate(rows, start=1):
            self._import_row(row, run)
            if progress is not None:
                progress.advance(
                    n_done=n_done, n_cases=run.count["cases"], n_quarantined=run.n_quarantined
                )
            if limit is not None and n_done >= limit:
                break
        summary = run.summary(
            source_kind,
            n_cases_in_library=self._catalogue.n_cases(),
            n_patients_in_library=self._catalogue.n_patients(),
        )
        self._catalogue.finish_run(run.run_id, run.counts_for_record())
        return summary

    def _import_row(self, row: SourceRow, run: _Run) -> None:
        run.count["rows"] += 1
        if isinstance(row, RejectedRow):
            self._reject(run, row.row_name, row.reason)
            return
        prepared = [p for p in (self._picture(row, s, run) for s in row.pictures) if p is not None]
        if not prepared:
            return
        case = self._case(row, prepared, run)
        if case is None:
            self._reject(run, row.row_name, NO_PATIENT)
            return
        self._add(case, row, prepared, run)

    def _picture(self, row: SourceCase, source: SourcePicture, run: _Run) -> PreparedPicture | None:
        """Return the picture, ready to be added; None if it is there already or was set apart."""
        if source.file is None:
            self._reject(run, source.name, source.missing_reason)
            return None
        content = self._content(source.file, source.name, run)
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
        return self._prepared(row, source, content, run)

    def _prepared(
        self, row: SourceCase, source: SourcePicture, content: bytes, run: _Run
    ) -> PreparedPicture | None:
        """Decode, de-identify and store one file; None if it was set apart."""
        content_sha256 = sha256(content).hexdigest()
        try:
            frame = read_frame(content, self._reader)
            subject = _subject(row, frame) or (row.collection, content_sha256)
            if self._catalogue.is_erased(self._keys.patient_key(*subject), content_sha256):
                run.quarantined[ERASED] += 1  # counted only: its name may be the patient's
                return None
            return prepare(
                content,
                self._deidentifier.frame(content, frame, subject, run.deidentification),
                source,
                blobs=self._blobs,
                picture_id=self._opaque_id("picture", row.collection, content_sha256),
                check_pixels=partial(self._deidentifier.check_pixels, run.deidentification),
            )
        except CdsError as error:
            if error.reason in NOT_THE_PICTURES:
                raise
            self._reject(run, source.name, error.sentence)
            return None

    def _content(self, file: Path, name: str, run: _Run) -> bytes | None:
        try:
            if file.stat().st_size > MAX_FILE_BYTES:
                self._reject(run, name, TOO_LARGE)
                return None
            return file.read_bytes()
        except OSError:
            self._reject(run, name, UNREADABLE_FILE)
            return None

    def _case(
        self, row: SourceCase, prepared: list[PreparedPicture], run: _Run
    ) -> LibraryCase | None:
        """Return the case; None if neither the row nor its pictures say whose it is."""
        frame = prepared[0].frame
        subject = _subject(row, frame)
        if subject is None:
            return None
        identity = frame.identity
        study_uid = row.study_instance_uid or identity.study_instance_uid
        study_key = self._keys.study_key(study_uid or f"{row.collection}\n{row.study_name}")
        return LibraryCase(
            case_id=self._opaque_id("case", row.collection, study_key),
            collection=row.collection,
            patient_key=self._keys.patient_key(*subject),
            study_key=study_key,
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
        self, case: LibraryCase, row: SourceCase, prepared: list[PreparedPicture], run: _Run
    ) -> None:
        hashes = [p.content_sha256 for p in prepared]
        known = self._catalogue.case_by_study(case.collection, case.study_key)
        if known is not None:
            if self._catalogue.add_pictures(known.case_id, case.pictures, hashes):
                run.count["pictures"] += len(prepared)
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
        run.set_aside.update(f"{one.display}: {one.reason}" for one in row.set_aside)

    def _reject(self, run: _Run, name: str, reason: str) -> None:
        reason = reason[:MAX_REASON_LENGTH]
        run.quarantined[reason] += 1
        self._catalogue.reject(run.run_id, collection=run.collection, file=name, reason=reason)

    def _opaque_id(self, kind: str, collection: str, value: str) -> str:
        return self._keys.study_key(f"{kind}\n{collection}\n{value}")[:ID_LENGTH]


def _subject(row: SourceCase, frame: PixelFrame) -> tuple[str, str] | None:
    """Return whose number it is and the number; None if neither row nor picture says."""
    identity = frame.identity
    patient = row.patient_value or identity.patient_id_value
    if not patient:
        return None
    if row.patient_value is None and identity.issuer:
        return identity.issuer, patient
    return row.patient_namespace, patient


@dataclass(slots=True)
class _Run:
    """What has happened so far."""

    run_id: str
    collection: str
    deidentification: DeidentificationReport
    count: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    set_aside: Counter[str] = field(default_factory=Counter)
    patients: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)

    @property
    def n_quarantined(self) -> int:
        return self.quarantined.total()

    def counts_for_record(self) -> dict[str, int]:
        return {
            **self.count,
            "quarantined": self.n_quarantined,
            **self.deidentification.flat_counts(),
        }

    def summary(
        self, source_kind: str, *, n_cases_in_library: int, n_patients_in_library: int
    ) -> ImportSummary:
        return ImportSummary(
            run_id=self.run_id,
            source_kind=source_kind,
            n_rows=self.count["rows"],
            n_cases=self.count["cases"],
            n_patients=len(self.patients),
            n_pictures=self.count["pictures"],
            n_already=self.count["already"],
            n_duplicates=self.count["duplicates"],
            quarantined=dict(self.quarantined.most_common()),
            set_aside=dict(self.set_aside.most_common()),
            deidentification=self.deidentification.to_json(),
            n_cases_in_library=n_cases_in_library,
            n_patients_in_library=n_patients_in_library,
        )
