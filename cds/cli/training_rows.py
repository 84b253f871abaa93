"""What `precedent models train` reads: a folder, the library, or the permissive collections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cds.adapters.dicom_files import frames_from_file
from cds.adapters.storage import Storage
from cds.domain.errors import CdsError, Reason
from cds.library.labelled_folder import compiled_pattern
from cds.library.picture_folder import picture_files
from cds.library.picture_preparation import from_png
from models.training.folder_rows import FolderReading, folder_rows
from models.training.rows import Row, permissive_rows

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class ReadableRows:
    """Rows, and how the picture of one is decoded to ``(rows, columns)``, float32 in [0, 1]."""

    rows: Sequence[Row]
    read: Callable[[Row], Float32Array]


def rows_of_folder(
    folder: Path,
    *,
    licence: str,
    patient_pattern: str | None,
    one_patient_per_picture: bool,
    keep_split: bool,
) -> ReadableRows:
    """List the pictures of a person's own folder; they are decoded as the product decodes them.

    Parameters
    ----------
    folder
        See `models.training.folder_rows.folder_rows`.
    licence
        Of pictures that state none.
    patient_pattern
        Regular expression whose first group is the patient in a path.
    one_patient_per_picture
        No patient has two pictures.
    keep_split
        Keep the split that the data states.

    Raises
    ------
    CdsError
        INVALID_REQUEST if the folder or the pattern cannot be used.

    """
    if not folder.is_dir():
        raise CdsError(Reason.INVALID_REQUEST, f"There is no folder {folder.name}.")
    reading = FolderReading(
        licence or "not stated",
        compiled_pattern(patient_pattern),
        one_patient_per_picture,
        keep_split,
    )
    return ReadableRows(folder_rows(folder, picture_files(folder), reading), _pixels_of_file)


def rows_of_library(storage: Storage, collections: Sequence[str]) -> ReadableRows:
    """List the pictures of the installed library; findings are their labels.

    Parameters
    ----------
    storage
        Of this installation.
    collections
        Only these, or all if empty.

    Raises
    ------
    CdsError
        INVALID_REQUEST if there are none.

    """
    blob_keys: dict[str, str] = {}
    rows = []
    for case in storage.catalogue.iter_cases():
        if collections and case.collection not in collections:
            continue
        for picture in case.pictures:
            blob_keys[picture.picture_id] = picture.blob_key
            rows.append(
                Row(
                    source=case.collection,
                    path=Path(picture.picture_id),
                    patient=case.patient_key,
                    labels=frozenset(finding.coding.display for finding in case.findings),
                    licence=case.licence or "not stated",
                )
            )
    if not rows:
        raise CdsError(Reason.INVALID_REQUEST, "The library holds no pictures to train on.")

    def read(row: Row) -> Float32Array:
        return from_png(storage.blobs.get(blob_keys[row.path.name])).pixels

    return ReadableRows(sorted(rows, key=lambda row: row.name), read)


def rows_of_permissive_collections(shared: Path) -> ReadableRows:
    """List the pictures that a shipped encoder may be trained on.

    Parameters
    ----------
    shared
        Holds one folder per source.

    Raises
    ------
    CdsError
        INVALID_REQUEST if none of the sources is there.

    """
    try:
        return ReadableRows(permissive_rows(shared), _pixels_of_file)
    except ValueError:
        raise CdsError(
            Reason.INVALID_REQUEST, f"{shared.name} holds none of the permissive sources."
        ) from None


def _pixels_of_file(row: Row) -> Float32Array:
    """Decode a JPEG, PNG or DICOM file in the decoding process."""
    return frames_from_file(row.path.read_bytes())[0].pixels
