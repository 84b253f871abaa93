"""The CSV tables of public collections: their columns, and their rows as stripped text."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path


def column_names(path: Path) -> tuple[str, ...]:
    """Return the stripped names of a table's columns; none of an empty file."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return tuple(name.strip() for name in next(csv.reader(stream), []))


def stripped_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the named cells of each row, stripped; cells beyond the last column are left out."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            yield {k.strip(): v.strip() for k, v in row.items() if k and isinstance(v, str)}
