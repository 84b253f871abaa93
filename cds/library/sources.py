"""Which layout a path has, and its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cds.domain.errors import CdsError, Reason
from cds.library import (
    covid_chestxray,
    dicom_tree,
    hannover,
    labelled_folder,
    nih_chestxray14,
    openi_reports,
    table,
)
from cds.library.column_map import read_column_map
from cds.library.source_case import SourceRow


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """What a person asked to import.

    Attributes
    ----------
    folder
        Folder in a native layout; None with `table`.
    table, columns, root
        An own table, its column map, and the folder that pictures are named from; `root` is also
        where a native layout's pictures lie if not beside its table.
    layout
        One of `FORMATS`, or None to recognise it.
    collection, licence
        For rows that name none.
    patient_namespace
        Identifier system of the patient numbers of an own table, as the EHR names it: only then
        is a patient of the EHR recognised as the same person as a library patient.
    patient_pattern, one_patient_per_picture
        How a labelled folder's names tell patients apart; one of the two is needed there.
    modality, body_part
        Of a labelled folder's pictures.
    every_modality
        Also rows that are not X-rays.
    is_reference
        The dates of a DICOM folder are not true ones.

    """

    folder: Path | None = None
    table: Path | None = None
    columns: Path | None = None
    root: Path | None = None
    layout: str | None = None
    collection: str | None = None
    licence: str = ""
    patient_namespace: str | None = None
    patient_pattern: str | None = None
    one_patient_per_picture: bool = False
    modality: str | None = None
    body_part: str | None = None
    every_modality: bool = False
    is_reference: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A recognised source, ready to be read."""

    layout: str
    collection: str
    rows: Iterator[SourceRow]


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout that a folder can be recognised by.

    Attributes
    ----------
    find
        Returns what to read in a folder, or None if it has another layout.
    open
        Returns the rows of what was found.

    """

    name: str
    collection: str | None
    find: Callable[[Path], Path | None]
    open: Callable[[Path, SourceRequest, str], Iterator[SourceRow]]


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
    if folder is None:
        raise CdsError(
            Reason.INVALID_REQUEST,
            "Say what to import: a folder, --table with --columns, or --ehr for a hospital's PACS.",
        )
    if not folder.is_dir():
        raise CdsError(
            Reason.INVALID_REQUEST,
            "There is no such folder; give a folder, or --table with --columns.",
        )
    for layout in LAYOUTS:
        if request.layout in {None, layout.name}:
            found = layout.find(folder)
            if found is not None:
                collection = request.collection or layout.collection or folder.resolve().name
                return Source(layout.name, collection, layout.open(found, request, collection))
    if request.layout == labelled_folder.FORMAT:
        return _labelled(folder, request)
    raise CdsError(
        Reason.INVALID_REQUEST,
        "The folder's layout is not recognised: it has neither the table of "
        "covid-chestxray-dataset, ChestX-ray14, the Hannover collection or the Open-i reports, nor "
        "is its first file DICOM. For folders that are named by class give --format "
        "labelled-folder, for your own table --table and --columns.",
    )


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


def _labelled(folder: Path, request: SourceRequest) -> Source:
    if (request.patient_pattern is None) != request.one_patient_per_picture:
        raise CdsError(
            Reason.INVALID_REQUEST,
            "A labelled folder needs either --patient-pattern, which finds the patient in a file's "
            "name, or --one-patient-per-picture, which declares that no patient has two.",
        )
    collection = request.collection or folder.resolve().name
    reading = labelled_folder.FolderReading(
        collection=collection,
        licence=request.licence,
        patient_pattern=request.patient_pattern,
        modality=request.modality,
        body_part=request.body_part,
    )
    rows = labelled_folder.read_labelled_folder(folder, reading)
    return Source(labelled_folder.FORMAT, collection, rows)


def _covid(found: Path, request: SourceRequest, collection: str) -> Iterator[SourceRow]:
    return covid_chestxray.read_covid_chestxray(
        found,
        collection=collection,
        licence=request.licence,
        every_modality=request.every_modality,
    )


def _nih(found: Path, request: SourceRequest, collection: str) -> Iterator[SourceRow]:
    return nih_chestxray14.read_nih_chestxray14(
        found, root=request.root, collection=collection, licence=request.licence
    )


def _hannover(found: Path, request: SourceRequest, collection: str) -> Iterator[SourceRow]:
    return hannover.read_hannover(
        found, root=request.root, collection=collection, licence=request.licence
    )


def _openi(found: Path, request: SourceRequest, collection: str) -> Iterator[SourceRow]:
    return openi_reports.read_openi_reports(
        found, root=request.root, collection=collection, licence=request.licence
    )


def _dicom_folder(folder: Path) -> Path | None:
    return folder if dicom_tree.is_dicom_folder(folder) else None


def _dicom(found: Path, request: SourceRequest, collection: str) -> Iterator[SourceRow]:
    return dicom_tree.read_dicom_tree(
        found,
        collection=collection,
        licence=request.licence,
        is_reference=request.is_reference,
    )


LAYOUTS = (
    Layout(
        covid_chestxray.FORMAT, covid_chestxray.COLLECTION, covid_chestxray.native_table, _covid
    ),
    Layout(nih_chestxray14.FORMAT, nih_chestxray14.COLLECTION, nih_chestxray14.native_table, _nih),
    Layout(hannover.FORMAT, hannover.COLLECTION, hannover.native_table, _hannover),
    Layout(openi_reports.FORMAT, openi_reports.COLLECTION, openi_reports.native_source, _openi),
    Layout(dicom_tree.FORMAT, None, _dicom_folder, _dicom),
)
FORMATS = (*(layout.name for layout in LAYOUTS), labelled_folder.FORMAT, table.FORMAT)
