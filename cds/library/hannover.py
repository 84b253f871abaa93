"""The native layout of the Hannover COVID-19 image repository: ``data.csv`` beside its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from cds.domain.facts import Finding, Measurement, Outcome, SetAside
from cds.domain.lab_catalogue import normalise
from cds.library.csv_table import column_names, stripped_rows
from cds.library.finding_terms import findings_from_text
from cds.library.picture_folder import files_by_name, named_file
from cds.library.source_case import (
    NO_PATIENT,
    NOT_FOUND,
    RejectedRow,
    SourceCase,
    SourcePicture,
    SourceRow,
)

FORMAT = "hannover-covid"
COLLECTION = "COVID-19 Image Repository (Hannover)"
TABLES = ("data_original.csv", "data.csv")
NATIVE_COLUMNS = frozenset({"patient_id", "image_id", "icu_admission_offset", "death_offset"})
# All fell ill with COVID-19; a film more days before the admission may show nothing of it.
LONGEST_LEAD_DAYS = 7
# Offsets are whole days: a value of the film's day or of the day before lies in the 24 h window.
USED_LAB_OFFSETS = frozenset({0, -1})
# Column -> LOINC code and UCUM unit. Source: table "Feature Set" of the repository's readme.
MEASURED = {
    "crp": ("1988-5", "mg/L"),
    "ldh": ("2532-0", "U/L"),
    "lymphocytes": ("731-0", "10*3/uL"),
    "neutrophils": ("751-8", "10*3/uL"),
}
UNUSABLE = {
    "d-dimer": ("D-dimer", "the source does not say whether FEU or DDU"),
    "factor_xii": ("Coagulation factor", "not in the catalogue"),
    "pco2": ("pCO2", "the source does not say whether arterial or venous"),
    "po2": ("pO2", "the source does not say whether arterial or venous"),
}
Row = Mapping[str, str]


def native_table(folder: Path) -> Path | None:
    """Return the table of this layout in a folder, or None if the folder is something else."""
    for name in TABLES:
        path = folder / name
        if path.is_file() and set(column_names(path)) >= NATIVE_COLUMNS:
            return path
    return None


def read_hannover(
    table: Path, *, root: Path | None = None, collection: str = COLLECTION, licence: str = ""
) -> Iterator[SourceRow]:
    """Read the rows of the native table.

    One row is one case. Every offset counts days from the film; a negative one lies before it. The
    collection is a reference: it has no dates and its ages are withheld.

    Parameters
    ----------
    table
        As `native_table` returns.
    root
        Folder that holds the pictures at any depth; None means the table's.
    collection
        Name of the collection; also the namespace of its patient numbers.
    licence
        For all rows; the repository as a whole is CC BY 3.0.

    """
    files = files_by_name(root or table.parent)
    for row in stripped_rows(table):
        yield _case(row, named_file(files, row.get("image_id", "")), collection, licence)


def _case(row: Row, file: Path | None, collection: str, licence: str) -> SourceRow:
    name, patient = row.get("image_id", ""), row.get("patient_id", "")
    if not patient:
        return RejectedRow(name, NO_PATIENT)
    if file is None:
        return RejectedRow(name, NOT_FOUND)
    view = (row.get("projection") or "").upper() or None
    measurements, set_aside = _measurements(row)
    outcomes, states = _course(row)
    return SourceCase(
        row_name=name,
        collection=collection,
        study_name=name,
        patient_namespace=collection,
        patient_value=patient,
        pictures=(SourcePicture(name, file, view_position=view),),
        modality=row.get("modality") or "CR",
        body_part="CHEST",
        view_position=view,
        sex={"m": "male", "f": "female", "w": "female"}.get(row.get("sex", ""), "unknown"),
        is_reference=True,
        findings=_findings(row),
        measurements=measurements,
        outcomes=outcomes,
        states_at_film=states,
        licence=licence,
        set_aside=set_aside,
    )


def _findings(row: Row) -> tuple[Finding, ...]:
    """Return COVID-19, unless the film lies too long before the admission to be of the illness."""
    admission = _days(row, "admission_offset")
    if admission is not None and admission > LONGEST_LEAD_DAYS:
        return ()
    return findings_from_text("COVID-19")


def _course(row: Row) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
    """Return what came after the film, and what was already so.

    The table follows the stay: an empty offset means that the event is not in it. Who left the
    intensive care unit before the film has neither state nor outcome of it.
    """
    icu, release = _days(row, "icu_admission_offset"), _days(row, "icu_release_offset")
    death = _days(row, "death_offset")
    outcomes: list[Outcome] = []
    states: list[str] = []
    if icu is None or icu > 0:
        outcomes.append(_stay("icu-admission", happened=icu is not None))
    elif release is None or release >= 0:
        states.append("icu")
    if death is None or death >= 0:
        outcomes.append(_stay("death", happened=death is not None))
    return tuple(outcomes), tuple(states)


def _stay(code: str, *, happened: bool) -> Outcome:
    return Outcome(code, None, float(happened), source=COLLECTION)


def _measurements(row: Row) -> tuple[tuple[Measurement, ...], tuple[SetAside, ...]]:
    used: list[Measurement] = []
    set_aside: list[SetAside] = []
    for name, (code, unit) in MEASURED.items():
        value, offset = _number(row, f"{name}_val"), _days(row, f"{name}_offset")
        if value is None:
            continue
        result = normalise(code, value, unit)
        if isinstance(result, SetAside):
            set_aside.append(result)
        elif offset in USED_LAB_OFFSETS:
            used.append(result)
        else:
            reason = "not taken at the time of the film"
            set_aside.append(SetAside(name.upper(), f"{value:g} {unit}", reason))
    for name, (display, reason) in UNUSABLE.items():
        value = _number(row, f"{name}_val")
        if value is not None:
            set_aside.append(SetAside(display, f"{value:g}", reason))
    return tuple(used), tuple(set_aside)


def _days(row: Row, column: str) -> int | None:
    value = _number(row, column)
    return None if value is None else int(value)


def _number(row: Row, column: str) -> float | None:
    try:
        return float(row.get(column, ""))
    except ValueError:
        return None
