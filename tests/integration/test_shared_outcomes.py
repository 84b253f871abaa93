"""What the shared collections say of a course: docs/own-library.md names what is absent."""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from pathlib import Path

import pytest

DATA = Path(os.environ.get("PRECEDENT_SHARED", "../shared")) / "data"
COURSE = re.compile(r"recur|relapse|treatment|course|lost_to|stage", re.IGNORECASE)


def rows_of(collection: str) -> list[dict[str, str]]:
    path = DATA / collection / "metadata.csv"
    if not path.is_file():
        pytest.skip("The shared collections are not here (PRECEDENT_SHARED).")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_no_collection_but_one_has_a_column_of_course_recurrence_or_stage() -> None:
    rows_of("chest_ct_cancer")
    named = {
        path.parent.name
        for path in DATA.glob("*/metadata.csv")
        if any(COURSE.search(column) for column in rows_of(path.parent.name)[0])
    }
    assert named == {"chest_ct_cancer"}


def test_stage_of_the_chest_ct_collection_is_of_the_folder_not_of_a_patient() -> None:
    rows = rows_of("chest_ct_cancer")
    stages = defaultdict(set)
    for row in rows:
        if row["stage"]:
            stages[row["labels"]].add(row["stage"])
    assert {label: len(known) for label, known in stages.items()} == dict.fromkeys(stages, 1)
    assert stages
    assert not any(row["patient_id"] for row in rows)
