"""Rows from a researcher's own folder: named by class, or with a table of the shared layout."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cds.domain.errors import CdsError, Reason
from models.collection_files import TABLE_FILE
from models.training.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SIDE_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_NO_PATIENT = (
    "{0} names no patient: pictures of one patient on both sides of a split make every figure too "
    "good. Give --patient-pattern, or declare --one-patient-per-picture."
)


@dataclass(frozen=True, slots=True)
class FolderReading:
    """How a folder is to be read.

    Attributes
    ----------
    licence
        Of pictures that state none.
    patient_pattern
        Regular expression whose first group is the patient in a path below the folder.
    is_one_patient_per_picture
        The person who trains declares that no patient has two pictures.
    keeps_split
        Keep the split that the column ``split``, or folders ``train``, ``validation`` and ``test``
        state.

    """

    licence: str = "not stated"
    patient_pattern: re.Pattern[str] | None = None
    is_one_patient_per_picture: bool = False
    keeps_split: bool = False


def folder_rows(folder: Path, files: Iterable[Path], reading: FolderReading) -> list[Row]:
    """List the pictures of a folder.

    Parameters
    ----------
    folder
        With ``metadata.csv`` (columns ``file``, ``patient_id``, ``labels`` separated by ``|``, and,
        if wanted, ``image_licence``, ``dup_group``, ``split``), or holding such folders, or folders
        named by class.
    files
        The picture files below it; not read here.
    reading
        How.

    Returns
    -------
    list of Row
        Ordered by name.

    Raises
    ------
    CdsError
        INVALID_REQUEST if there are no pictures, a column is missing, a patient or a side of the
        split is not stated.

    """
    tables = [folder, *(sorted(path for path in folder.iterdir() if path.is_dir()))]
    tables = [path for path in tables if (path / TABLE_FILE).is_file()]
    if tables:
        rows = [row for table in tables for row in _table_rows(table, reading)]
    else:
        rows = list(_class_rows(folder, files, reading))
    if not rows:
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"The folder holds neither {TABLE_FILE} nor folders named by class with pictures.",
        )
    return sorted(rows, key=lambda row: row.name)


def _table_rows(folder: Path, reading: FolderReading) -> Iterator[Row]:
    """Read one table."""
    with (folder / TABLE_FILE).open(newline="", encoding="utf-8-sig") as lines:
        table = csv.DictReader(lines)
        missing = {"file", "labels"} - set(table.fieldnames or ())
        if missing:
            raise CdsError(
                Reason.INVALID_REQUEST,
                f"{TABLE_FILE} has no column {' and no column '.join(sorted(missing))}.",
            )
        for number, record in enumerate(table, start=2):
            place = f"Line {number} of {TABLE_FILE}"
            name = record["file"]
            yield Row(
                source=folder.name,
                path=folder / name,
                patient=f"{folder.name}:{_patient(record.get('patient_id'), name, place, reading)}",
                labels=frozenset(filter(None, (record["labels"] or "").split("|"))),
                licence=record.get("image_licence") or reading.licence,
                duplicate_group=record.get("dup_group") or None,
                side=_side(record.get("split"), place) if reading.keeps_split else None,
            )


def _class_rows(folder: Path, files: Iterable[Path], reading: FolderReading) -> Iterator[Row]:
    """Take the folder right above each picture as its class."""
    for file in files:
        name = file.relative_to(folder).as_posix()
        if file.parent == folder:
            continue
        side = None
        if reading.keeps_split:
            side = _side(name.partition("/")[0], "A folder right below the one given")
        yield Row(
            source=folder.resolve().name,
            path=file,
            patient=f"{folder.name}:{_patient(None, name, name, reading)}",
            labels=frozenset({re.sub(r"[_\s]+", " ", file.parent.name).strip()}),
            licence=reading.licence,
            side=side,
            place=name,
        )


def _patient(stated: str | None, name: str, place: str, reading: FolderReading) -> str:
    """Return the patient that a table or a path names."""
    if stated:
        return stated
    if reading.patient_pattern is not None:
        match = reading.patient_pattern.search(name)
        if match is not None and match.group(1):
            return match.group(1)
    elif reading.is_one_patient_per_picture:
        return name
    raise CdsError(Reason.INVALID_REQUEST, _NO_PATIENT.format(place))


def _side(text: str | None, place: str) -> str:
    """Return the side of a split that a text names."""
    side = _SIDE_NAMES.get((text or "").strip().casefold())
    if side is None:
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"{place} states no side of the split: it is named train, validation or test.",
        )
    return side
