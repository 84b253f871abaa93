"""The native layout of ieee8023/covid-chestxray-dataset: ``metadata.csv`` beside ``images/``."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cds.domain.facts import Measurement, Outcome, SetAside
from cds.domain.lab_catalogue import normalise
from cds.library.csv_table import column_names
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

FORMAT = "covid-chestxray"
COLLECTION = "covid-chestxray-dataset"
NATIVE_TABLES = ("metadata_original.csv", "metadata.csv")
NATIVE_COLUMNS = frozenset({"patientid", "finding", "view", "modality", "folder", "filename"})
X_RAY = "X-ray"
MAX_AGE_YEARS = 120
# The column mixes oxygen saturation in % with partial pressures in mmHg; below this value a
# saturation cannot be told from a pressure. Source: reading of the table, 2026-11.
LOWEST_SATURATION_PERCENT = 70.0

# Column -> LOINC code and UCUM unit. Source: SCHEMA.md of the data set (temperature in Celsius,
# counts in 10^3/uL).
MEASURED = {
    "temperature": ("8310-5", "Cel"),
    "pO2_saturation": ("59408-5", "%"),
    "leukocyte_count": ("6690-2", "10*3/uL"),
    "neutrophil_count": ("751-8", "10*3/uL"),
    "lymphocyte_count": ("731-0", "10*3/uL"),
}
NOTES = (
    *("clinical_notes", "other_notes", "location", "date", "doi", "url", "offset"),
    *("needed_supplemental_O2", "RT_PCR_positive"),
)
_YEAR = re.compile(r"(?:^|\D)((?:19|20)\d{2})(?:\D|$)")
_SHORT_DATE = re.compile(r"^\d{1,2}/\d{1,2}/(\d{2})$")
Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Course:
    """Whether, at any earlier film of the same patient, a state was already true."""

    was_in_icu: bool
    was_intubated: bool


def native_table(folder: Path) -> Path | None:
    """Return the table of this layout in a folder, or None if the folder is something else."""
    for name in NATIVE_TABLES:
        path = folder / name
        if path.is_file() and set(_header(path)) >= NATIVE_COLUMNS:
            return path
    return None


def read_covid_chestxray(
    table: Path, *, collection: str = COLLECTION, licence: str = "", every_modality: bool = False
) -> Iterator[SourceRow]:
    """Read the rows of the native table.

    One row is one case: a film of a patient at an offset. The collection is a reference: it says
    when a film was taken, not when its outcome was known. What was already true at the film is a
    state; an outcome is counted only where the row says that the state was not yet true at this
    film, and no earlier film of the patient shows it. Need of oxygen has no time in the source: it
    is kept with the notes and counted nowhere. Free text is about other people: it is kept
    encrypted and never shown.

    Parameters
    ----------
    table
        As `native_table` returns.
    collection
        Name of the collection; also the namespace of its patient numbers.
    licence
        For rows that state none.
    every_modality
        Also rows that are not X-rays (CT).

    """
    with table.open(encoding="utf-8-sig", newline="") as stream:
        rows: list[Row] = [_clean(row) for row in csv.DictReader(stream)]
    courses = _courses(rows)
    files: dict[str, Mapping[str, Path]] = {}
    for row in rows:
        if not every_modality and row.get("modality") != X_RAY:
            continue
        folder = table.parent / (Path(row.get("folder", "")).name or "images")
        if folder.name not in files:
            files[folder.name] = files_by_name(folder)
        file = named_file(files[folder.name], row.get("filename", ""))
        yield _case(row, file, courses.get(_key(row)), (collection, licence))


def _case(
    row: Row, file: Path | None, course: _Course | None, source: tuple[str, str]
) -> SourceRow:
    collection, licence = source
    name = row.get("filename", "")
    patient = row.get("patientid", "")
    if not patient:
        return RejectedRow(name, NO_PATIENT)
    if file is None:
        return RejectedRow(name, NOT_FOUND)
    measurements, set_aside = _measurements(row)
    outcomes, states = _outcomes(row, course or _Course(was_in_icu=False, was_intubated=False))
    view = row.get("view", "")
    return SourceCase(
        row_name=name,
        collection=collection,
        study_name=f"{patient}/{name}",
        patient_namespace=collection,
        patient_value=patient,
        pictures=(SourcePicture(name, file, view_position=view or None),),
        modality="DX" if row.get("modality") == X_RAY else row.get("modality") or None,
        body_part="CHEST",
        view_position=view or None,
        age_years=_age(row.get("age", "")),
        sex={"M": "male", "F": "female"}.get(row.get("sex", ""), "unknown"),
        is_reference=True,
        film_year=film_year(row.get("date", "")),
        findings=findings_from_text(row.get("finding", "")),
        measurements=measurements,
        outcomes=outcomes,
        states_at_film=states,
        licence=row.get("license") or licence,
        notes={column: row[column] for column in NOTES if row.get(column)},
        set_aside=set_aside,
    )


def film_year(text: str) -> int | None:
    """Return the year of a date as this table writes it, or None.

    Examples
    --------
    >>> [film_year(text) for text in ("January 6, 2020", "2004", "03/16/20", "")]
    [2020, 2004, 2020, None]

    """
    match = _YEAR.search(text)
    if match is not None:
        return int(match.group(1))
    short = _SHORT_DATE.match(text)
    return 2000 + int(short.group(1)) if short is not None else None


def _measurements(row: Row) -> tuple[tuple[Measurement, ...], tuple[SetAside, ...]]:
    used: list[Measurement] = []
    set_aside: list[SetAside] = []
    for column, (code, unit) in MEASURED.items():
        value = _number(row.get(column, ""))
        if value is None:
            continue
        if column == "pO2_saturation" and value < LOWEST_SATURATION_PERCENT:
            reason = "saturation and partial pressure are not told apart"
            set_aside.append(SetAside("Oxygen saturation", f"{value:g} (no unit)", reason))
            continue
        result = normalise(code, value, unit)
        if isinstance(result, Measurement):
            used.append(result)
        else:
            set_aside.append(result)
    return tuple(used), tuple(set_aside)


def _outcomes(row: Row, course: _Course) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
    outcomes: list[Outcome] = []
    states: list[str] = []
    in_icu, present = _yes_no(row, "in_icu"), _yes_no(row, "intubation_present")
    if in_icu:
        states.append("icu")
    if present:
        states.append("intubated")
    if in_icu is False and not course.was_in_icu:
        outcomes += _stay("icu-admission", row.get("went_icu"))
    if present is False and not course.was_intubated:
        outcomes += _stay("intubation", row.get("intubated"))
    outcomes += _stay("death", {"Y": "N", "N": "Y"}.get(row.get("survival", "")))
    if present:
        outcomes += _stay("extubation", row.get("extubated"))
    return tuple(outcomes), tuple(states)


def _stay(code: str, answer: str | None) -> list[Outcome]:
    """Return the outcome of the stay where the table answers Y or N, nothing where it does not."""
    value = {"Y": 1.0, "N": 0.0}.get(answer or "")
    return [] if value is None else [Outcome(code, None, value, source=COLLECTION)]


def _courses(rows: list[Row]) -> dict[tuple[str, str], _Course]:
    """Return, for each film with an offset, what earlier films of its patient show."""
    films: dict[str, list[tuple[float, Row]]] = defaultdict(list)
    for row in rows:
        offset = _number(row.get("offset", ""))
        if offset is not None and row.get("patientid"):
            films[row["patientid"]].append((offset, row))
    courses = {}
    for taken in films.values():
        for offset, row in taken:
            earlier = [r for o, r in taken if o < offset]
            courses[_key(row)] = _Course(
                was_in_icu=any(_yes_no(r, "in_icu") for r in earlier),
                was_intubated=any(_yes_no(r, "intubation_present") for r in earlier),
            )
    return courses


def _key(row: Row) -> tuple[str, str]:
    return row.get("patientid", ""), row.get("filename", "")


def _clean(row: Mapping[str | None, str | list[str] | None]) -> dict[str, str]:
    """Return the named cells, stripped; upstream once spelt the first column ``Patientid``."""
    cells = {k.strip(): v.strip() for k, v in row.items() if k and isinstance(v, str)}
    if "Patientid" in cells:
        cells["patientid"] = cells.pop("Patientid")
    return cells


def _header(path: Path) -> list[str]:
    return ["patientid" if name == "Patientid" else name for name in column_names(path)]


def _yes_no(row: Row, column: str) -> bool | None:
    return {"Y": True, "N": False}.get(row.get(column, ""))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _age(text: str) -> int | None:
    value = _number(text)
    return int(value) if value is not None and 0 <= value <= MAX_AGE_YEARS else None
