"""``map.toml``: which column of a table holds which field of a case."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cds.domain.errors import CdsError, Reason

FIELDS = frozenset(
    {
        *("case_key", "patient_key", "patient_namespace", "study_instance_uid", "file"),
        *("collection", "view", "laterality", "body_part", "modality", "taken_at", "film_year"),
        *("age_years", "sex", "findings", "diagnosis", "diagnosis_recorded_at", "proof", "labs"),
        *("history", "outcomes", "state_at_film", "report_text", "report_text_is_deidentified"),
        *("licence", "known_at", "is_reference"),
    }
)


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Where each field of a case comes from.

    Attributes
    ----------
    columns
        Field -> column of the table.
    defaults
        Field -> value where there is no column, or its cell is empty.
    systems
        Short name -> URI of a code system, for coded cells.
    namespaces
        Collection -> identifier system of its patient numbers, as the EHR names it.

    """

    columns: Mapping[str, str]
    defaults: Mapping[str, str] = field(default_factory=dict)
    systems: Mapping[str, str] = field(default_factory=dict)
    namespaces: Mapping[str, str] = field(default_factory=dict)

    def value(self, row: Mapping[str, str], name: str) -> str:
        """Return the text of a field in a row; empty means not known."""
        column = self.columns.get(name)
        cell = row.get(column, "") if column is not None else ""
        return cell.strip() or self.defaults.get(name, "")

    def with_defaults(self, further: Mapping[str, str]) -> ColumnMap:
        """Return a map with further defaults; those of the file stay."""
        return replace(self, defaults={**further, **self.defaults})

    def check_header(self, header: list[str]) -> None:
        """Refuse a table that lacks a column of this map.

        Raises
        ------
        CdsError
            INVALID_REQUEST naming the first missing column.

        """
        missing = [column for column in self.columns.values() if column not in header]
        if missing:
            raise CdsError(
                Reason.INVALID_REQUEST,
                f"The table has no column {missing[0]!r}, which the column map names.",
            )


def read_column_map(path: Path) -> ColumnMap:
    """Read a column map.

    Raises
    ------
    CdsError
        INVALID_REQUEST if the file is no TOML, names an unknown field, or maps no picture file.

    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CdsError(Reason.INVALID_REQUEST, f"There is no column map {path.name}.") from None
    except (OSError, ValueError):
        raise CdsError(
            Reason.INVALID_REQUEST, f"The column map {path.name} is not a TOML file."
        ) from None
    columns, defaults = _texts(document, "columns"), _texts(document, "defaults")
    unknown = sorted((set(columns) | set(defaults)) - FIELDS)
    if unknown:
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"The column map names {unknown[0]!r}, which is no field of a case; "
            "see docs/library.md.",
        )
    if "file" not in columns:
        raise CdsError(
            Reason.INVALID_REQUEST, "The column map does not say which column names the picture."
        )
    return ColumnMap(
        columns, defaults, _texts(document, "codes"), _texts(document, "patient_namespaces")
    )


def _texts(document: Mapping[str, object], name: str) -> dict[str, str]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise CdsError(Reason.INVALID_REQUEST, f"[{name}] of the column map is not a table.")
    return {str(k): str(v).lower() if isinstance(v, bool) else str(v) for k, v in table.items()}
