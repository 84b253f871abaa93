"""Which layout a path has, and its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cds.domain.errors import CdsError, Reason
from cds.library import covid_chestxray, table
from cds.library.column_map import read_column_map
from cds.library.source_case import SourceRow

FORMATS = (covid_chestxray.FORMAT, table.FORMAT)


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """What a person asked to import.

    Attributes
    ----------
    folder
        Folder in a native layout; None with `table`.
    table, columns, root
        An own table, its column map, and the folder that pictures are named from.
    layout
        One of `FORMATS`, or None to recognise it.
    collection, licence
        For rows that name none.
    patient_namespace
        Identifier system of the patient numbers of an own table, as the EHR names it: only then
        is a patient of the EHR recognised as the same person as a library patient.
    every_modality
        Also rows that are not X-rays.

    """

    folder: Path | None = None
    table: Path | None = None
    columns: Path | None = None
    root: Path | None = None
    layout: str | None = None
    collection: str | None = None
    licence: str = ""
    patient_namespace: str | None = None
    every_modality: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A recognised source, ready to be read."""

    layout: str
    collection: str
    rows: Iterator[SourceRow]


def open_source(request: SourceRequest) -> Source:
    """Recognise the layout and return its rows.

    Raises
    ------
    CdsError
        INVALID_REQUEST if no layout fits, with what was looked for.

    """
    if request.table is not None or request.layout == table.FORMAT:
        return _own_table(request)
    folder = request.folder
    if folder is None or not folder.is_dir():
        raise CdsError(
            Reason.INVALID_REQUEST,
            "There is no such folder; give a folder, or --table with --columns.",
        )
    native = covid_chestxray.native_table(folder)
    if native is None:
        raise CdsError(
            Reason.INVALID_REQUEST,
            "The folder's layout is not recognised: no metadata.csv with the columns of "
            "covid-chestxray-dataset was found. For your own table give --table and --columns.",
        )
    collection = request.collection or covid_chestxray.COLLECTION
    rows = covid_chestxray.read_covid_chestxray(
        native,
        collection=collection,
        licence=request.licence,
        every_modality=request.every_modality,
    )
    return Source(covid_chestxray.FORMAT, collection, rows)


def _own_table(request: SourceRequest) -> Source:
    if request.table is None or request.columns is None:
        raise CdsError(
            Reason.INVALID_REQUEST, "A table of your own needs both --table and --columns."
        )
    collection = request.collection or request.table.resolve().parent.name
    defaults = {"collection": collection, "licence": request.licence}
    if request.patient_namespace is not None:
        defaults["patient_namespace"] = request.patient_namespace
    column_map = read_column_map(request.columns).with_defaults(defaults)
    rows = table.read_table(request.table, column_map, root=request.root)
    return Source(table.FORMAT, collection, rows)
