"""Anyone's own table of cases: ``--table cases.csv --columns map.toml``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cds.domain.errors import CdsError, Reason
from cds.domain.facts import Finding, HistoryFlag, Measurement, Outcome, SetAside
from cds.domain.film import film_facts
from cds.domain.patient import ClinicalContext, Demographics
from cds.domain.study import StudyRef
from cds.library.coded_cells import (
    UnreadableItemError,
    coding_from_text,
    history_from_text,
    items,
    measurement_from_text,
    moment_from_text,
    outcome_from_text,
)
from cds.library.column_map import ColumnMap
from cds.library.source_case import (
    NOT_DATED,
    OUTSIDE,
    RejectedRow,
    SourceCase,
    SourcePicture,
    SourceRow,
)

FORMAT = "table"
PROOFS = frozenset({"histology", "culture", "clinical", "report"})
SEXES = {"m": "male", "male": "male", "f": "female", "female": "female", "other": "other"}
TRUE_WORDS = frozenset({"true", "yes", "1"})
MAX_AGE_YEARS = 120
AFTER_FILM_H = 24  # later values are outside every window
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Row:
    """One row with its map, and what of it could not be used."""

    cells: Mapping[str, str]
    column_map: ColumnMap
    set_aside: list[SetAside] = field(default_factory=list)

    def text(self, name: str) -> str:
        """Return a field's text; empty means not known."""
        return self.column_map.value(self.cells, name)

    def namespace(self, collection: str) -> str:
        """Return whose numbers the patient numbers are; the collection's own where none is said."""
        named = self.column_map.namespaces.get(collection)
        return named or self.text("patient_namespace") or collection

    def list_of(self, name: str, read: Callable[[str], Item | SetAside]) -> list[Item]:
        """Return the items of a list; what is not understood is set aside, never guessed."""
        found: list[Item] = []
        for text in items(self.text(name)):
            try:
                item = read(text)
            except UnreadableItemError as error:
                self.set_aside.append(SetAside(name, "", str(error)))
                continue
            if isinstance(item, SetAside):
                self.set_aside.append(item)
            else:
                found.append(item)
        return found

    def leave_out(self, n: int, name: str, reason: str) -> None:
        """Note that `n` values of a field are not used."""
        self.set_aside.extend([SetAside(name, "", reason)] * n)

    def moment(self, name: str) -> datetime | None:
        """Return a moment, or None where the cell is empty."""
        text = self.text(name)
        return moment_from_text(text) if text else None


def read_table(
    table: Path, column_map: ColumnMap, *, root: Path | None = None
) -> Iterator[SourceRow]:
    """Read the cases of a table.

    Rows with the same `case_key` are one case with several pictures; its facts are those of the
    first row. Measurements and history are selected around the film exactly as for a query: the
    windows of the laboratory catalogue, and only history recorded before the day of the film.
    Outcomes observed before the film, or whose state was already true at it, are set aside.

    Parameters
    ----------
    table
        CSV (RFC 4180), UTF-8, header first.
    column_map
        Which column holds what.
    root
        Folder that pictures are named from; None means the folder of the table.

    Raises
    ------
    CdsError
        INVALID_REQUEST if the table cannot be read or lacks a mapped column.

    """
    folder = (root or table.parent).resolve()
    grouped: dict[str, list[_Row]] = {}
    for number, row in enumerate(_rows(table, column_map), start=2):
        key = row.text("case_key") or row.text("file") or f"row {number}"
        grouped.setdefault(f"{row.text('collection')}\n{key}", []).append(row)
    for name, rows in grouped.items():
        yield _case(name.split("\n", 1)[1], rows, folder)


def _rows(table: Path, column_map: ColumnMap) -> Iterator[_Row]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            column_map.check_header(list(reader.fieldnames or ()))
            for cells in reader:
                yield _Row({k: v for k, v in cells.items() if isinstance(v, str)}, column_map)
    except FileNotFoundError:
        raise CdsError(Reason.INVALID_REQUEST, f"There is no table {table.name}.") from None
    except (UnicodeDecodeError, csv.Error):
        raise CdsError(
            Reason.INVALID_REQUEST, f"The table {table.name} is not a UTF-8 CSV file."
        ) from None


def _case(name: str, rows: list[_Row], folder: Path) -> SourceRow:
    row = rows[0]
    try:
        taken_at, known_at = row.moment("taken_at"), row.moment("known_at")
    except UnreadableItemError as error:
        return RejectedRow(name, str(error))
    is_reference = row.text("is_reference").casefold() in TRUE_WORDS
    if known_at is None and not is_reference:
        return RejectedRow(name, NOT_DATED)
    measurements, history = _around_film(row, taken_at)
    outcomes, states = _outcomes(row, taken_at)
    collection = row.text("collection")
    report_text, notes = _texts(row)
    return SourceCase(
        row_name=name,
        collection=collection,
        study_name=name,
        study_instance_uid=row.text("study_instance_uid") or None,
        patient_namespace=row.namespace(collection),
        patient_value=row.text("patient_key") or None,
        pictures=tuple(_picture(r, folder) for r in rows),
        modality=row.text("modality") or None,
        body_part=row.text("body_part").upper() or None,
        view_position=row.text("view") or None,
        age_years=_age(row.text("age_years")),
        sex=SEXES.get(row.text("sex").casefold(), "unknown"),
        known_at=None if is_reference else known_at,
        is_reference=is_reference,
        film_year=taken_at.year if taken_at is not None else _year(row.text("film_year")),
        findings=_findings(row),
        measurements=measurements,
        history=history,
        outcomes=outcomes,
        states_at_film=states,
        report_text=report_text,
        licence=row.text("licence"),
        notes=notes,
        set_aside=tuple(row.set_aside),
    )


def _around_film(
    row: _Row, taken_at: datetime | None
) -> tuple[tuple[Measurement, ...], tuple[HistoryFlag, ...]]:
    """Select measurements and history by the rules that queries follow."""
    systems = row.column_map.systems
    measurements = row.list_of("labs", measurement_from_text)
    history = row.list_of("history", lambda text: history_from_text(text, systems))
    if taken_at is None:
        undated = tuple(m for m in measurements if m.observed_at is None)
        unplaced = len(measurements) - len(undated) + len(history)
        row.leave_out(unplaced, "dated values", "the time of the film is not known")
        return undated, ()
    context = ClinicalContext(
        demographics=Demographics(patient_id=""),
        read_at=taken_at,
        measurements=tuple(measurements),
        history=tuple(history),
    )
    film = StudyRef(accession_number="film", started_at=taken_at)
    facts = film_facts(context, film, as_of=taken_at + timedelta(hours=AFTER_FILM_H))
    n_outside = len(measurements) - len(facts.facts.measurements)
    row.leave_out(n_outside, "labs", "outside the window around the film")
    n_later = len(history) - len(facts.history)
    row.leave_out(n_later, "history", "not recorded before the film")
    return facts.facts.measurements, facts.history


def _outcomes(row: _Row, taken_at: datetime | None) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
    collection = row.text("collection")
    states = items(row.text("state_at_film"))
    kept = []
    for outcome in row.list_of("outcomes", lambda text: outcome_from_text(text, collection)):
        if _was_true_at_film(outcome.code, states):
            row.leave_out(1, "outcomes", "already true at the film")
        elif (
            taken_at is not None
            and outcome.observed_on is not None
            and outcome.observed_on < taken_at.date()
        ):
            row.leave_out(1, "outcomes", "observed before the film")
        else:
            kept.append(outcome)
    return tuple(kept), states


def _was_true_at_film(code: str, states: tuple[str, ...]) -> bool:
    already = {
        "icu-admission": {"icu"},
        "ventilation": {"ventilated", "intubated"},
        "intubation": {"intubated", "ventilated"},
        "oxygen": {"oxygen"},
    }
    return bool(already.get(code, set()) & set(states))


def _findings(row: _Row) -> tuple[Finding, ...]:
    systems = row.column_map.systems
    proof = row.text("proof").casefold()
    diagnoses = row.list_of("diagnosis", lambda text: coding_from_text(text, systems))
    signs = row.list_of("findings", lambda text: coding_from_text(text, systems))
    found = {
        coding.key: Finding(coding, proof if proof in PROOFS else "unknown", is_diagnosis=True)
        for coding in diagnoses
    }
    for coding in signs:
        found.setdefault(coding.key, Finding(coding))
    return tuple(found.values())


def _texts(row: _Row) -> tuple[str | None, dict[str, str]]:
    """Return the report's text if it was declared de-identified, and what is kept unseen."""
    notes = {
        name: row.text(name) for name in ("taken_at", "diagnosis_recorded_at") if row.text(name)
    }
    text = row.text("report_text")
    if text and row.text("report_text_is_deidentified").casefold() in TRUE_WORDS:
        return text, notes
    if text:
        notes["report_text"] = text
    return None, notes


def _picture(row: _Row, folder: Path) -> SourcePicture:
    name = row.text("file")
    view, laterality = row.text("view") or None, row.text("laterality") or None
    try:
        file = (folder / name).resolve()
        is_there = bool(name) and file.is_file()
    except (OSError, ValueError):  # too long, or with a NUL: no file can have this name
        return SourcePicture(name, None, view, laterality)
    if not file.is_relative_to(folder):
        return SourcePicture(name, None, view, laterality, missing_reason=OUTSIDE)
    return SourcePicture(name, file if is_there else None, view, laterality)


def _age(text: str) -> int | None:
    try:
        value = int(float(text))
    except (ValueError, OverflowError):
        return None
    return value if 0 <= value <= MAX_AGE_YEARS else None


def _year(text: str) -> int | None:
    return int(text) if text.isdigit() and 1890 <= int(text) <= datetime.now(UTC).year else None
