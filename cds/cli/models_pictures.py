"""Which labelled pictures `precedent models evaluate` and `compare` are about."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from cds.cli.argument_types import at_least_one
from cds.cli.progress import Steps
from cds.domain.case import CasePicture, LibraryCase, ViewGroup
from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from cds.library.labelled_folder import FolderReading, read_labelled_folder
from cds.library.source_case import RejectedRow, SourceCase
from cds.settings import settings_from_environment

if TYPE_CHECKING:
    from cds.adapters.storage import Storage
    from models.evaluation.dataset import EvaluationSet, LabelledPicture  # noqa: TC004  # never evaluated, and slow to load
    from models.evaluation.encoding import Encoder, FolderEncoder
    from models.evaluation.evaluation import EvaluationSettings, Subject

Float32Array = NDArray[np.float32]
FileReader = Callable[[Path], PixelFrame]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which pictures, and how they are measured."""
    data = parser.add_argument_group("pictures (one of the first three is needed)")
    kinds = data.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--library", action="store_true", help="the installed case library")
    kinds.add_argument(
        "--folder",
        type=Path,
        action="append",
        help="folder with metadata.csv, or with one folder per class; may be repeated",
    )
    kinds.add_argument("--medmnist", type=Path, help="MedMNIST .npz file")
    data.add_argument("--collection", help="library: only this collection")
    data.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="NAME",
        help="a class to tell apart, the healthy one first; repeat it. Default: the first label "
        "of each picture",
    )
    data.add_argument(
        "--patient-pattern",
        help="folder per class: regular expression whose first group is the patient in a path",
    )
    data.add_argument(
        "--one-patient-per-picture",
        action="store_true",
        help="folder per class: declare that no patient has two pictures",
    )
    parser.add_argument("--seed", type=int, default=0, help="of every random draw (0)")
    parser.add_argument(
        "--resamples", type=at_least_one, default=1000, help="of patients, for intervals (1000)"
    )


@dataclass(frozen=True, slots=True, eq=False)
class PictureSource:
    """Labelled pictures with what has to be said about them.

    Attributes
    ----------
    stored_vectors
        Encoder hash to the vectors that are stored already, by the hash that a frame carries; of
        an installed library.

    """

    name: str
    pictures: list[LabelledPicture]
    notes: tuple[str, ...] = ()
    stored_vectors: Callable[[str], Mapping[str, Float32Array]] | None = None

    def with_stored_vectors(self, encoder: FolderEncoder) -> Encoder:
        """Return the encoder, which looks up vectors that the library holds."""
        from models.evaluation.encoding import StoredVectors

        if self.stored_vectors is None:
            return encoder
        return StoredVectors(encoder, self.stored_vectors(encoder.encoder_hash))


def settings_of(arguments: argparse.Namespace, *, with_probe: bool) -> EvaluationSettings:
    """Return what the options say about draws."""
    from models.evaluation.evaluation import EvaluationSettings

    return EvaluationSettings(arguments.seed, arguments.resamples, with_probe)


@contextmanager
def opened_pictures(arguments: argparse.Namespace) -> Iterator[PictureSource]:
    """Open the pictures; files of folders are decoded in processes of their own.

    Raises
    ------
    CdsError
        INVALID_REQUEST if there are none, or an option that is needed is missing.

    """
    if arguments.medmnist is not None:
        from models.evaluation.medmnist import read_medmnist

        yield PictureSource(
            arguments.medmnist.name,
            read_medmnist(arguments.medmnist),
            ("The file names no patients: intervals are by picture.",),
        )
    elif arguments.library:
        yield _library(arguments.collection)
    else:
        from cds.adapters.decode_pool import DecodePool
        from cds.adapters.dicom_files import frames_from_file
        from cds.engine.bulk_import import usual_workers

        with DecodePool(usual_workers()) as pool:
            pool.start()
            reader = partial(frames_from_file, decoding=pool)
            yield _folders(arguments, lambda file: reader(file.read_bytes())[0])


def measured_pictures(
    source: PictureSource,
    encoders: list[Encoder],
    classes: list[str],
    console: Console,
) -> tuple[EvaluationSet, list[Subject]]:
    """Embed the pictures with every encoder and make the set that is measured.

    Raises
    ------
    CdsError
        INVALID_REQUEST if fewer than two classes remain, or no picture can be read.

    """
    from cds.engine.bulk_import import usual_workers
    from models.evaluation.dataset import evaluation_set, with_classes
    from models.evaluation.encoding import encoded
    from models.evaluation.evaluation import Subject

    pictures, names, notes = with_classes(source.pictures, classes)
    with Steps(console, "Embedding", len(pictures)) as steps:
        found = encoded(pictures, encoders, progress=steps.show, n_threads=usual_workers())
    data = evaluation_set(
        source.name,
        found.kept,
        names,
        content=found.content,
        thumbnails=found.thumbnails,
        notes=(*source.notes, *notes, *found.notes),
    )
    subjects = [
        Subject(one.name, one.encoder_hash, vectors, one.trained_on)
        for one, vectors in zip(encoders, found.vectors, strict=True)
    ]
    return data, subjects


def _library(collection: str | None) -> PictureSource:
    from cds.adapters.storage import open_storage

    storage = open_storage(settings_from_environment())
    cases = [
        case
        for case in storage.catalogue.iter_cases()
        if collection is None or case.collection == collection
    ]
    if not cases:
        where = f"no case of the collection {collection!r}" if collection else "no case"
        raise CdsError(Reason.INVALID_REQUEST, f"The library holds {where}.")
    pictures = [_of_case(storage, case, one) for case in cases for one in case.pictures]
    name = f"the installed library ({collection})" if collection else "the installed library"

    def stored(encoder_hash: str) -> Mapping[str, Float32Array]:
        vectors = storage.embeddings.embeddings(encoder_hash)
        return {_frame_hash(picture_id): vector for picture_id, vector in vectors.items()}

    return PictureSource(name, pictures, (), stored)


def _of_case(storage: Storage, case: LibraryCase, picture: CasePicture) -> LabelledPicture:
    from cds.library.picture_preparation import from_png

    first = [case.diagnosis] if case.diagnosis is not None else []
    view = picture.view_group if picture.view_group is not ViewGroup.OTHER else None

    def read() -> PixelFrame:
        png = storage.blobs.get(picture.blob_key)
        return from_png(png, content_sha256=_frame_hash(picture.picture_id))

    from models.evaluation.dataset import LabelledPicture, stated

    return LabelledPicture(
        labels=tuple(dict.fromkeys(f.coding.display for f in (*first, *case.findings))),
        patient=case.patient_key,
        read=read,
        attributes=stated(source=case.collection, view=view, sex=case.sex, age=case.age_years),
    )


def _frame_hash(picture_id: str) -> str:
    return sha256(picture_id.encode()).hexdigest()


def _folders(arguments: argparse.Namespace, read: FileReader) -> PictureSource:
    from models.collection_files import TABLE_FILE
    from models.evaluation.picture_table import read_picture_table

    pictures: list[LabelledPicture] = []
    notes: list[str] = []
    for folder in arguments.folder:
        if not folder.is_dir():
            raise CdsError(Reason.INVALID_REQUEST, f"There is no folder {folder}.")
        has_table = (folder / TABLE_FILE).is_file()
        found, said = (
            read_picture_table(folder, read) if has_table else _by_class(folder, arguments, read)
        )
        pictures += found
        notes += said
    name = ", ".join(folder.resolve().name for folder in arguments.folder)
    return PictureSource(name, pictures, tuple(notes))


def _by_class(
    folder: Path, arguments: argparse.Namespace, read: FileReader
) -> tuple[list[LabelledPicture], tuple[str, ...]]:
    """Read a folder with one folder per class, as the library's import does."""
    if (arguments.patient_pattern is None) != arguments.one_patient_per_picture:
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"The folder {folder.name} has no metadata.csv. If its folders are named by class, say "
            "how patients are told apart: --patient-pattern or --one-patient-per-picture.",
        )
    reading = FolderReading(
        folder.resolve().name, patient_pattern=arguments.patient_pattern or None
    )
    rows = list(read_labelled_folder(folder, reading))
    refused = Counter(row.reason for row in rows if isinstance(row, RejectedRow))
    return (
        [_of_row(row, read) for row in rows if isinstance(row, SourceCase)],
        tuple(f"{count} pictures are left out: {why}." for why, count in sorted(refused.items())),
    )


def _of_row(row: SourceCase, read: FileReader) -> LabelledPicture:
    file = row.pictures[0].file
    assert file is not None  # noqa: S101 - a labelled folder lists files that it has found
    from models.evaluation.dataset import LabelledPicture, stated

    return LabelledPicture(
        labels=tuple(finding.coding.display for finding in row.findings),
        patient=f"{row.collection}:{row.patient_value}",
        read=partial(read, file),
        attributes=stated(source=row.collection, view=None, sex=None, age=None),
    )
