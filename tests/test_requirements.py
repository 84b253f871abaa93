"""Every SHALL of requirements.csv is shown by a test or excused; every id on a test is listed."""

import csv
from collections.abc import Sequence
from pathlib import Path

from tests.requirement_marks import Mark, marks

TESTS = Path(__file__).resolve().parent
COLUMNS = ["id", "conformance", "text", "url", "not_tested_reason"]
CONFORMANCE = {"SHALL", "SHALL NOT", "SHOULD", "SHOULD NOT", "MAY"}
Row = dict[str, str]


def rows_of(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        assert reader.fieldnames == COLUMNS
        return list(reader)


def problems(rows: Sequence[Row], found: Sequence[Mark]) -> list[str]:
    """Return each disagreement between the list of requirements and the marks on the tests."""
    ids = [row["id"] for row in rows]
    marked = {mark.requirement for mark in found}
    texts = [f"{name}: listed twice" for name in sorted({x for x in ids if ids.count(x) > 1})]
    for row in rows:
        texts += row_problems(row, is_marked=row["id"] in marked)
    for mark in found:
        if mark.requirement is None:
            texts.append(f"{mark.path}:{mark.line}: the id has to be a literal string")
        elif mark.requirement not in ids:
            texts.append(f"{mark.path}:{mark.line}: {mark.requirement} is not in requirements.csv")
    return texts


def row_problems(row: Row, *, is_marked: bool) -> list[str]:
    name, conformance = row["id"], row["conformance"]
    excused = bool(row["not_tested_reason"].strip())
    is_due = conformance.startswith("SHALL") and not excused and not is_marked
    cases = {
        f"{name}: unknown conformance {conformance!r}": conformance not in CONFORMANCE,
        f"{name}: needs a text and its source": not (
            row["text"].strip() and row["url"].startswith("https://")
        ),
        f"{name}: no test carries it and nothing excuses it": is_due,
        f"{name}: a test carries it, so its excuse is out of date": excused and is_marked,
    }
    return [text for text, is_wrong in cases.items() if is_wrong]


def a_row(**over: str) -> Row:
    row = {"id": "X-1", "conformance": "SHALL", "text": "Do.", "url": "https://x.example.invalid"}
    return {**row, "not_tested_reason": "", **over}


def test_requirements_when_compared_with_the_marks_agree() -> None:
    found = problems(rows_of(TESTS / "requirements.csv"), list(marks(TESTS)))
    assert found == []


def test_problems_when_everything_agrees_are_none() -> None:
    assert problems([a_row()], [Mark("test_a.py", 1, "X-1")]) == []


def test_problems_when_a_shall_is_neither_tested_nor_excused_name_it() -> None:
    assert problems([a_row()], []) == ["X-1: no test carries it and nothing excuses it"]


def test_problems_when_an_excuse_is_out_of_date_name_it() -> None:
    rows = [a_row(not_tested_reason="Later.")]
    found = problems(rows, [Mark("test_a.py", 1, "X-1")])
    assert found == ["X-1: a test carries it, so its excuse is out of date"]


def test_problems_when_a_mark_is_not_listed_name_its_place() -> None:
    found = problems([], [Mark("test_a.py", 7, "X-2"), Mark("test_a.py", 9, None)])
    assert found == [
        "test_a.py:7: X-2 is not in requirements.csv",
        "test_a.py:9: the id has to be a literal string",
    ]


def test_problems_when_an_id_is_listed_twice_name_it() -> None:
    row = a_row(conformance="MAY")
    assert problems([row, row], []) == ["X-1: listed twice"]


def test_problems_when_a_row_lacks_source_or_conformance_name_both() -> None:
    found = problems([a_row(conformance="MUST", url="")], [])
    assert found == ["X-1: unknown conformance 'MUST'", "X-1: needs a text and its source"]


def test_marks_when_tests_carry_ids_are_read_from_any_place(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(
        "import pytest\n"
        "pytestmark = pytest.mark.requirement('A-1')\n"
        "@pytest.mark.requirement('A-2', 'A-3')\n"
        "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.requirement('A-4'))])\n"
        "def test_x(x): ...\n"
        "pytest.mark.requirement(name)\n"
    )
    assert [(one.line, one.requirement) for one in marks(tmp_path)] == [
        (2, "A-1"),
        (3, "A-2"),
        (3, "A-3"),
        (6, None),
        (4, "A-4"),
    ]
