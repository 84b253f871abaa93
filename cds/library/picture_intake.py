"""One file of a source -> a picture that is ready to be added, or why it is set apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from cds.library.catalogue import CaseCatalogue, Float32Array
from cds.library.deidentification import Deidentifier
from cds.library.deidentification_report import DeidentificationReport
from cds.library.picture_preparation import (
    PictureReader,
    PreparedPicture,
    kept_frame,
    prepare,
    read_frame,
)
from cds.library.source_case import SourceCase, SourcePicture
from cds.ports import BlobStore, IdentityKeys, ImageEmbedder

ID_LENGTH = 24  # hex digits of a keyed hash: 96 bits
ERASED = "the patient was erased from the library or has objected"
# What is wrong with the installation is no fault of the picture: the run ends.
_ENDS_THE_RUN = frozenset(
    {Reason.STORAGE_UNAVAILABLE, Reason.MODEL_UNAVAILABLE, Reason.INVALID_CONFIGURATION}
)


@dataclass(frozen=True, slots=True, repr=False)
class FileToTake:
    """One file of a row: its bytes, and their SHA-256 in hexadecimal."""

    row: SourceCase
    source: SourcePicture
    content: bytes
    content_sha256: str

    def __repr__(self) -> str:
        return "FileToTake(<redacted>)"


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one file.

    Attributes
    ----------
    prepared
        None if it was set apart.
    refusal
        Why it was set apart.
    deidentification
        What was done to it.

    """

    deidentification: DeidentificationReport
    prepared: PreparedPicture | None = None
    refusal: str | None = None

    @property
    def is_erased(self) -> bool:
        """Tell whether it belongs to a patient who may not be in the library."""
        return self.refusal == ERASED


@dataclass(frozen=True, slots=True)
class PictureIntake:
    """Decodes, de-identifies, stores and embeds files; safe to use from several threads.

    Attributes
    ----------
    embedder
        None leaves the vectors to a later run.

    """

    catalogue: CaseCatalogue
    blobs: BlobStore
    keys: IdentityKeys
    reader: PictureReader
    deidentifier: Deidentifier
    embedder: ImageEmbedder | None = None

    def take(self, file: FileToTake) -> Taken:
        """Return the picture, in the blob store and with its vector, or why it is set apart.

        Raises
        ------
        CdsError
            STORAGE_UNAVAILABLE, MODEL_UNAVAILABLE or INVALID_CONFIGURATION: no fault of the file.

        """
        report = self.deidentifier.new_report()
        try:
            return self._taken(file, report)
        except CdsError as error:
            if error.reason in _ENDS_THE_RUN:
                raise
            return Taken(report, refusal=error.sentence)

    def _taken(self, file: FileToTake, report: DeidentificationReport) -> Taken:
        row, digest = file.row, file.content_sha256
        frame = read_frame(file.content, self.reader)
        if row.check is not None:
            row.check(frame)
        subject = subject_of(row, frame) or (row.collection, digest)
        patient_key = self.keys.patient_key(*subject)
        if self.catalogue.is_kept_out(patient_key, digest, owner_ehr_id=row.owner_ehr_id):
            return Taken(report, refusal=ERASED)
        prepared = prepare(
            digest,
            self.deidentifier.frame(file.content, frame, subject, report),
            file.source,
            blobs=self.blobs,
            picture_id=opaque_id(self.keys, "picture", row.collection, digest),
            check_pixels=partial(self.deidentifier.check_pixels, report),
        )
        return Taken(report, replace(prepared, vector=self._vector(prepared)))

    def _vector(self, prepared: PreparedPicture) -> Float32Array | None:
        """Return the vector of the picture as it is kept; None leaves it to a later run."""
        if self.embedder is None:
            return None
        try:
            return self.embedder.embed([kept_frame(prepared.grey)])[0].vector
        except CdsError:
            return None


def subject_of(row: SourceCase, frame: PixelFrame) -> tuple[str, str] | None:
    """Return whose number it is and the number; None if neither row nor picture says."""
    identity = frame.identity
    patient = row.patient_value or identity.patient_id_value
    if not patient:
        return None
    if row.patient_value is None and identity.issuer:
        return identity.issuer, patient
    return row.patient_namespace, patient


def opaque_id(keys: IdentityKeys, kind: str, collection: str, value: str) -> str:
    """Return an id that says nothing about what it stands for."""
    return keys.study_key(f"{kind}\n{collection}\n{value}")[:ID_LENGTH]
