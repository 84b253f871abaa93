"""Folders with a `metadata.csv`: one line per picture, with patient, labels, view, sex and age."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from models.collection_files import TABLE_FILE
from models.evaluation.dataset import LabelledPicture, stated

_NEEDED = ("file", "labels")
_SEPARATOR = "|"


def read_picture_table(
    folder: Path, read: Callable[[Path], PixelFrame]
) -> tuple[list[LabelledPicture], tuple[str, ...]]:
    """Read the table of a folder.

    Parameters
    ----------
    folder
        Holds ``metadata.csv`` with the columns ``file`` (below the folder) and ``labels``
        (separated by ``|``), and as far as known ``source``, ``patient_id``, ``view``, ``sex``,
        ``age`` and ``dup_group``.
    read
        Decodes a picture file; called when its turn comes.

    Returns
    -------
    tuple
        The pictures, and a sentence if patients are not named.

    Raises
    ------
    CdsError
        INVALID_REQUEST if the table lacks a needed column, or a file lies outside the folder.

    """
    try:
        with (folder / TABLE_FILE).open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = set(_NEEDED) - set(reader.fieldnames or ())
            records = [] if missing else list(reader)
    except (OSError, UnicodeDecodeError, csv.Error):
        raise CdsError(
            Reason.INVALID_REQUEST, f"{folder.name}/{TABLE_FILE} cannot be read as a UTF-8 table."
        ) from None
    if missing:
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"{folder.name}/{TABLE_FILE} lacks the column {', '.join(sorted(missing))}.",
        )
    nameless = sum(not (record.get("patient_id") or "").strip() for record in records)
    note = (
        f"{nameless} pictures of {folder.name} name no patient: each counts as a patient of its "
        "own, so that intervals are too narrow where patients have several.",
    )
    pictures = [_picture(folder, record, read) for record in records]
    return pictures, note if nameless else ()


def _picture(
    folder: Path, record: dict[str, str], read: Callable[[Path], PixelFrame]
) -> LabelledPicture:
    file = folder / record["file"]
    if not file.resolve().is_relative_to(folder.resolve()):
        raise CdsError(
            Reason.INVALID_REQUEST, f"{folder.name}/{TABLE_FILE} names a file outside the folder."
        )
    source = (record.get("source") or "").strip() or folder.name
    patient = (record.get("patient_id") or "").strip() or record["file"]
    copies = (record.get("dup_group") or "").strip()
    labels = (label.strip() for label in (record["labels"] or "").split(_SEPARATOR))
    return LabelledPicture(
        labels=tuple(filter(None, labels)),
        patient=f"{source}:{patient}",
        read=lambda: read(file),
        attributes=stated(
            source=source,
            view=record.get("view"),
            sex=record.get("sex"),
            age=record.get("age"),
        ),
        duplicate_group=copies or None,
    )
