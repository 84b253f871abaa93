import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cds.domain.errors import CdsError, Reason
from cds.library.column_map import ColumnMap, read_column_map
from cds.library.source_case import NOT_DATED, NOT_FOUND, OUTSIDE, RejectedRow, SourceCase
from cds.library.table import read_table

MAP = """
[columns]
case_key = "case"
patient_key = "patient"
file = "file"
view = "view"
taken_at = "taken"
known_at = "known"
age_years = "age"
sex = "sex"
findings = "findings"
diagnosis = "diagnosis"
proof = "proof"
labs = "labs"
history = "history"
outcomes = "outcomes"
state_at_film = "states"
report_text = "report"

[defaults]
body_part = "chest"
modality = "DX"
licence = "CC0-1.0"
collection = "Hospital A"

[codes]
sct = "http://snomed.info/sct"
"""
COLUMNS = (
    *("case", "patient", "file", "view", "taken", "known", "age", "sex", "findings"),
    *("diagnosis", "proof", "labs", "history", "outcomes", "states", "report"),
)


def a_row(**overrides: str) -> dict[str, str]:
    row = dict.fromkeys(COLUMNS, "")
    row.update(
        case="A-1",
        patient="P-1",
        file="images/a.png",
        view="AP",
        taken="2023-04-11T06:52:00Z",
        known="2023-05-11T06:52:00Z",
        age="67",
        sex="female",
    )
    return {**row, **overrides}


def read(tmp_path: Path, *rows: dict[str, str], column_map: str = MAP) -> list[object]:
    (tmp_path / "images").mkdir(exist_ok=True)
    (tmp_path / "images" / "a.png").write_bytes(b"picture")
    (tmp_path / "map.toml").write_text(column_map, "utf-8")
    with (tmp_path / "cases.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return list(read_table(tmp_path / "cases.csv", read_column_map(tmp_path / "map.toml")))


def only_case(tmp_path: Path, column_map: str = MAP, **overrides: str) -> SourceCase:
    (case,) = read(tmp_path, a_row(**overrides), column_map=column_map)
    assert isinstance(case, SourceCase)
    return case


def reasons(case: SourceCase) -> list[str]:
    return [f"{one.display}: {one.reason}" for one in case.set_aside]


def test_row_when_complete_becomes_a_case(tmp_path: Path) -> None:
    case = only_case(tmp_path)
    assert (case.collection, case.patient_namespace, case.patient_value) == (
        "Hospital A",
        "Hospital A",
        "P-1",
    )
    assert case.known_at == datetime(2023, 5, 11, 6, 52, tzinfo=UTC)
    assert (case.film_year, case.age_years, case.sex) == (2023, 67, "female")
    assert (case.modality, case.body_part, case.view_position) == ("DX", "CHEST", "AP")
    assert case.pictures[0].file == (tmp_path / "images" / "a.png").resolve()


@pytest.mark.parametrize(
    ("addition", "namespace"),
    [
        pytest.param("", "Hospital A", id="none-is-the-collection"),
        pytest.param('[patient_namespaces]\n"Hospital A" = "urn:a"', "urn:a", id="by-collection"),
        pytest.param('[patient_namespaces]\n"Hospital B" = "urn:b"', "Hospital A", id="another"),
    ],
)
def test_patient_namespace_when_mapped_is_the_collections(
    tmp_path: Path, addition: str, namespace: str
) -> None:
    assert only_case(tmp_path, column_map=MAP + addition).patient_namespace == namespace


def test_rows_when_case_key_is_equal_are_one_case_with_pictures(tmp_path: Path) -> None:
    (case,) = read(tmp_path, a_row(), a_row(file="images/b.png", view="LL"))
    assert isinstance(case, SourceCase)
    assert [(p.name, p.view_position) for p in case.pictures] == [
        ("images/a.png", "AP"),
        ("images/b.png", "LL"),
    ]
    assert case.pictures[1].missing_reason == NOT_FOUND


def test_picture_when_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path.parent / "secret.png").write_bytes(b"x")
    case = only_case(tmp_path, file="../secret.png")
    assert case.pictures[0].file is None
    assert case.pictures[0].missing_reason == OUTSIDE


@pytest.mark.parametrize("file", ["a\0b.png", "x" * 5000 + ".png"], ids=["nul", "too-long"])
def test_table_when_a_file_name_is_none_goes_on_without_it(tmp_path: Path, file: str) -> None:
    first, second = read(tmp_path, a_row(file=file), a_row(case="A-2", file="images/b.png"))
    assert isinstance(first, SourceCase)
    assert isinstance(second, SourceCase)
    assert first.pictures[0].missing_reason == NOT_FOUND


def test_row_when_known_at_is_missing_is_rejected(tmp_path: Path) -> None:
    assert read(tmp_path, a_row(known="")) == [RejectedRow("A-1", NOT_DATED)]


def test_row_when_collection_is_a_reference_needs_no_known_at(tmp_path: Path) -> None:
    reference = MAP.replace("[defaults]", "[defaults]\nis_reference = true")
    case = only_case(tmp_path, column_map=reference, known="")
    assert case.is_reference
    assert case.known_at is None


def test_row_when_time_has_no_zone_is_rejected(tmp_path: Path) -> None:
    (row,) = read(tmp_path, a_row(taken="2023-04-11T06:52:00"))
    assert row == RejectedRow("A-1", "time not understood")


def test_labs_when_outside_their_window_are_set_aside(tmp_path: Path) -> None:
    case = only_case(
        tmp_path,
        labs="1988-5=165 mg/L@2023-04-11T05:40:00Z;1988-5=9 mg/L@2023-03-01T05:40:00Z;nonsense",
    )
    assert [(m.code, m.value) for m in case.measurements] == [("1988-5", 165.0)]
    assert reasons(case) == [
        "labs: measurement not understood",
        "labs: outside the window around the film",
    ]


def test_history_when_recorded_after_the_film_is_no_history(tmp_path: Path) -> None:
    case = only_case(
        tmp_path,
        history="sct|13645005|COPD@2019-02-03T09:00:00Z;sct|233604007|Pneumonia@2023-04-13T10:00:00Z",
    )
    assert [flag.coding.key for flag in case.history] == ["13645005"]
    assert reasons(case) == ["history: not recorded before the film"]


def test_outcomes_when_before_or_at_the_film_are_set_aside(tmp_path: Path) -> None:
    case = only_case(
        tmp_path,
        outcomes="icu-admission:7:yes:2023-04-13;death:30:no:2023-05-11;return:30:yes:2023-04-10",
        states="icu",
    )
    assert [(o.code, o.value) for o in case.outcomes] == [("death", 0.0)]
    assert case.states_at_film == ("icu",)
    assert reasons(case) == [
        "outcomes: already true at the film",
        "outcomes: observed before the film",
    ]


def test_findings_when_also_the_diagnosis_are_not_doubled(tmp_path: Path) -> None:
    case = only_case(
        tmp_path,
        diagnosis="sct|385093006|Community acquired pneumonia",
        findings="sct|95436008|Lung consolidation;sct|385093006|Community acquired pneumonia",
        proof="culture",
    )
    assert [(f.coding.key, f.proof, f.is_diagnosis) for f in case.findings] == [
        ("385093006", "culture", True),
        ("95436008", "unknown", False),
    ]


def test_report_text_when_not_declared_deidentified_is_kept_unseen(tmp_path: Path) -> None:
    case = only_case(tmp_path, report="Mr X has a cold")
    assert case.report_text is None
    assert case.notes["report_text"] == "Mr X has a cold"


def test_report_text_when_declared_deidentified_is_kept(tmp_path: Path) -> None:
    declared = MAP.replace("[defaults]", "[defaults]\nreport_text_is_deidentified = true")
    assert only_case(tmp_path, declared, report="Consolidation.").report_text == "Consolidation."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("[columns", "not a TOML file", id="no-toml"),
        pytest.param('[columns]\nfile="f"\ncolour="c"', "'colour'", id="unknown-field"),
        pytest.param('[columns]\ncase_key="c"', "names the picture", id="no-picture"),
        pytest.param('columns = "x"', "not a table", id="columns-no-table"),
    ],
)
def test_map_when_wrong_is_refused_with_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "map.toml").write_text(text, "utf-8")
    with pytest.raises(CdsError, match=words) as refused:
        read_column_map(tmp_path / "map.toml")
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_table_when_a_mapped_column_is_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("a,b\n1,2\n", "utf-8")
    with pytest.raises(CdsError, match="'file'"):
        list(read_table(tmp_path / "cases.csv", ColumnMap({"file": "file"})))


def test_table_when_absent_or_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CdsError, match="no table"):
        list(read_table(tmp_path / "none.csv", ColumnMap({"file": "file"})))
    (tmp_path / "bytes.csv").write_bytes(b"file\n\xff\xfe\n")
    with pytest.raises(CdsError, match="UTF-8"):
        list(read_table(tmp_path / "bytes.csv", ColumnMap({"file": "file"})))
