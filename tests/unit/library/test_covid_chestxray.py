from pathlib import Path

import pytest

from cds.library.covid_chestxray import film_year, native_table, read_covid_chestxray
from cds.library.finding_terms import findings_from_text
from cds.library.source_case import NO_PATIENT, NOT_FOUND, RejectedRow, SourceCase
from tests.builders.library import NativeFolder, a_native_row, png_bytes


def read(
    tmp_path: Path, *rows: dict[str, str], names: tuple[str, ...] = ("a.png",)
) -> list[object]:
    folder = NativeFolder(tmp_path).write(list(rows), {name: png_bytes() for name in names})
    table = native_table(folder)
    assert table is not None
    return list(read_covid_chestxray(table))


def only_case(tmp_path: Path, **overrides: str) -> SourceCase:
    (case,) = read(tmp_path, a_native_row(**overrides))
    assert isinstance(case, SourceCase)
    return case


def outcomes(case: SourceCase) -> dict[str, float]:
    return {o.code: o.value for o in case.outcomes}


def test_row_when_complete_becomes_a_reference_case(tmp_path: Path) -> None:
    case = only_case(tmp_path, clinical_notes="A note", license="CC BY 3.0")
    assert (case.sex, case.age_years, case.film_year) == ("male", 60, 2020)
    assert case.is_reference
    assert case.known_at is None
    assert (case.modality, case.body_part, case.view_position) == ("DX", "CHEST", "PA")
    assert case.licence == "CC BY 3.0"


def test_notes_when_read_are_kept_apart_and_never_a_report(tmp_path: Path) -> None:
    case = only_case(tmp_path, clinical_notes="A note")
    assert case.report_text is None
    assert case.notes["clinical_notes"] == "A note"
    assert "A note" not in repr(case)


def test_picture_when_extension_differs_is_found_by_stem(tmp_path: Path) -> None:
    (case,) = read(tmp_path, a_native_row(filename="a.jpeg"))
    assert isinstance(case, SourceCase)
    assert case.pictures[0].file is not None
    assert case.pictures[0].file.name == "a.png"


def test_picture_when_absent_rejects_the_row(tmp_path: Path) -> None:
    (row,) = read(tmp_path, a_native_row(filename="b.png"))
    assert row == RejectedRow("b.png", NOT_FOUND)


def test_row_when_patient_is_missing_is_rejected(tmp_path: Path) -> None:
    (row,) = read(tmp_path, a_native_row(patientid=""))
    assert row == RejectedRow("a.png", NO_PATIENT)


def test_folder_when_it_points_outside_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(png_bytes())
    folder = NativeFolder(tmp_path / "set").write(
        [a_native_row(folder="../elsewhere")], {"b.png": png_bytes()}
    )
    table = native_table(folder)
    assert table is not None
    assert list(read_covid_chestxray(table)) == [RejectedRow("a.png", NOT_FOUND)]


def test_rows_when_not_x_ray_are_skipped_unless_asked(tmp_path: Path) -> None:
    folder = NativeFolder(tmp_path).write([a_native_row(modality="CT")], {"a.png": png_bytes()})
    table = native_table(folder)
    assert table is not None
    assert list(read_covid_chestxray(table)) == []
    assert len(list(read_covid_chestxray(table, every_modality=True))) == 1


def test_column_when_spelt_patientid_with_a_capital_is_recognised(tmp_path: Path) -> None:
    NativeFolder(tmp_path).write([a_native_row()], {"a.png": png_bytes()})
    table = tmp_path / "metadata.csv"
    table.write_text(table.read_text().replace("patientid", "Patientid", 1))
    assert native_table(tmp_path) == table
    (case,) = read_covid_chestxray(table)
    assert isinstance(case, SourceCase)


def test_folder_when_table_is_another_is_not_recognised(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file,label\na,b\n")
    assert native_table(tmp_path) is None


@pytest.mark.parametrize(
    ("cells", "expected", "states"),
    [
        pytest.param({"survival": "N"}, {"death": 1.0}, (), id="died"),
        pytest.param({"survival": "Y"}, {"death": 0.0}, (), id="survived"),
        pytest.param({"survival": "?"}, {}, (), id="not-stated"),
        pytest.param({"in_icu": "N", "went_icu": "Y"}, {"icu-admission": 1.0}, (), id="later-icu"),
        pytest.param({"in_icu": "Y", "went_icu": "Y"}, {}, ("icu",), id="already-in-icu"),
        pytest.param({"went_icu": "Y"}, {}, (), id="icu-at-unknown-time"),
        pytest.param({"went_icu": "N"}, {}, (), id="no-icu-but-state-unknown"),
        pytest.param(
            {"in_icu": "Would have been stated", "went_icu": "Would have been stated"},
            {},
            (),
            id="phrase-is-no-answer",
        ),
        pytest.param(
            {"intubation_present": "N", "intubated": "Y"}, {"intubation": 1.0}, (), id="later-tube"
        ),
        pytest.param(
            {"intubation_present": "Y", "intubated": "Y", "extubated": "Y"},
            {"extubation": 1.0},
            ("intubated",),
            id="tube-in-place",
        ),
        pytest.param({"needed_supplemental_O2": "Y"}, {}, (), id="oxygen-has-no-time"),
    ],
)
def test_outcomes_when_read_are_only_what_came_after_the_film(
    tmp_path: Path, cells: dict[str, str], expected: dict[str, float], states: tuple[str, ...]
) -> None:
    case = only_case(tmp_path, **cells)
    assert outcomes(case) == expected
    assert case.states_at_film == states


def test_outcome_when_an_earlier_film_shows_the_state_is_not_counted(tmp_path: Path) -> None:
    answers = {"went_icu": "Y", "intubated": "Y"}
    first, second = read(
        tmp_path,
        a_native_row(offset="2", in_icu="Y", intubation_present="Y", **answers),
        a_native_row(offset="9", in_icu="N", intubation_present="N", filename="b.png", **answers),
        names=("a.png", "b.png"),
    )
    assert isinstance(first, SourceCase)
    assert isinstance(second, SourceCase)
    assert outcomes(first) == outcomes(second) == {}


def test_outcome_when_only_a_later_film_shows_the_state_is_counted(tmp_path: Path) -> None:
    first, _ = read(
        tmp_path,
        a_native_row(offset="0", in_icu="N", went_icu="Y"),
        a_native_row(offset="9", in_icu="Y", went_icu="Y", filename="b.png"),
        names=("a.png", "b.png"),
    )
    assert isinstance(first, SourceCase)
    assert outcomes(first) == {"icu-admission": 1.0}


@pytest.mark.parametrize(
    ("column", "cell", "kept", "n_set_aside"),
    [
        pytest.param("temperature", "38.5", {"8310-5": 38.5}, 0, id="celsius"),
        pytest.param("temperature", "101", {}, 1, id="fahrenheit-without-unit"),
        pytest.param("pO2_saturation", "93", {"59408-5": 93.0}, 0, id="saturation"),
        pytest.param("pO2_saturation", "55", {}, 1, id="perhaps-a-pressure"),
        pytest.param("pO2_saturation", "340", {}, 1, id="no-percentage"),
        pytest.param("lymphocyte_count", "0.762", {"731-0": 0.762}, 0, id="count"),
        pytest.param("lymphocyte_count", "1100", {}, 1, id="cells-per-microlitre"),
        pytest.param("leukocyte_count", "?", {}, 0, id="no-number"),
    ],
)
def test_measurement_when_read_is_used_or_set_aside(
    tmp_path: Path, column: str, cell: str, kept: dict[str, float], n_set_aside: int
) -> None:
    case = only_case(tmp_path, **{column: cell})
    assert {m.code: m.value for m in case.measurements} == kept
    assert len(case.set_aside) == n_set_aside


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Pneumonia/Viral/COVID-19", ["840539006"]),
        ("COVID-19, ARDS", ["840539006", "67782005"]),
        ("Pneumonia", ["233604007"]),
        ("Legionella", ["legionella pneumonia"]),
        ("A rare thing", ["a rare thing"]),
        ("todo", []),
        ("", []),
        ("COVID-19, covid-19", ["840539006"]),
    ],
)
def test_findings_when_read_have_codes_where_one_is_sure(text: str, keys: list[str]) -> None:
    assert [f.coding.key for f in findings_from_text(text)] == keys


def test_no_finding_when_read_is_no_diagnosis() -> None:
    (finding,) = findings_from_text("No Finding")
    assert not finding.is_diagnosis


def test_year_when_date_says_none_is_none() -> None:
    assert film_year("early spring") is None
