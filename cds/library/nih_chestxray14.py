"""The native layout of NIH ChestX-ray14: ``Data_Entry_2017*.csv`` beside its pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from cds.domain.coding import Coding
from cds.domain.facts import Finding, SetAside
from cds.library.csv_table import column_names, stripped_rows
from cds.library.finding_terms import coded_term
from cds.library.picture_folder import files_by_name, named_file
from cds.library.report_findings import PROOF
from cds.library.source_case import NO_PATIENT, RejectedRow, SourceCase, SourcePicture, SourceRow

FORMAT = "nih-chestxray14"
COLLECTION = "NIH ChestX-ray14"
TABLES = "Data_Entry_2017*.csv"
NATIVE_COLUMNS = frozenset(
    {"Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position"}
)
MAX_AGE_YEARS = 120  # the table holds ages such as 414
_AGE = re.compile(r"^0*(\d{1,3})Y?$")
Row = Mapping[str, str]


def native_table(folder: Path) -> Path | None:
    """Return the table of this layout in a folder, or None if the folder is something else."""
    for path in sorted(folder.glob(TABLES)):
        if set(column_names(path)) >= NATIVE_COLUMNS:
            return path
    return None


def read_nih_chestxray14(
    table: Path, *, root: Path | None = None, collection: str = COLLECTION, licence: str = ""
) -> Iterator[SourceRow]:
    """Read the rows whose pictures are there.

    One row is one case. The collection is a reference: it has no dates. Its labels were mined from
    report texts by a program: they are findings proved by a report, never a diagnosis. Pictures are
    commonly downloaded in part: rows without theirs are counted in one line, not one by one.

    Parameters
    ----------
    table
        As `native_table` returns.
    root
        Folder that holds the pictures at any depth; None means the table's.
    collection
        Name of the collection; also the namespace of its patient numbers.
    licence
        The table states none.

    """
    files = files_by_name(root or table.parent)
    n_missing = 0
    for row in stripped_rows(table):
        file = named_file(files, row.get("Image Index", ""))
        if file is None:
            n_missing += 1
        else:
            yield _case(row, file, collection, licence)
    if n_missing:
        yield RejectedRow(table.name, f"{n_missing} rows name pictures that are not in the folder")


def _case(row: Row, file: Path, collection: str, licence: str) -> SourceRow:
    name, patient = row["Image Index"], row.get("Patient ID", "")
    if not patient:
        return RejectedRow(name, NO_PATIENT)
    age_years, set_aside = _age(row.get("Patient Age", ""))
    view = row.get("View Position") or None
    return SourceCase(
        row_name=name,
        collection=collection,
        study_name=name,
        patient_namespace=collection,
        patient_value=patient,
        pictures=(SourcePicture(name, file, view_position=view),),
        modality="DX",
        body_part="CHEST",
        view_position=view,
        age_years=age_years,
        sex={"M": "male", "F": "female"}.get(
            row.get("Patient Gender") or row.get("Patient Sex", ""), "unknown"
        ),
        is_reference=True,
        findings=_findings(row["Finding Labels"]),
        licence=licence,
        set_aside=set_aside,
    )


def _findings(labels: str) -> tuple[Finding, ...]:
    words = [label.replace("_", " ").strip() for label in labels.split("|")]
    return tuple(
        Finding(coded_term(word) or Coding(word), proof=PROOF, is_diagnosis=False)
        for word in words
        if word
    )


def _age(text: str) -> tuple[int | None, tuple[SetAside, ...]]:
    match = _AGE.match(text)
    if match is None:
        return None, ()
    years = int(match.group(1))
    if years > MAX_AGE_YEARS:
        return None, (SetAside("Age", text, "not plausible"),)
    return years, ()
