"""`precedent match` over real cases: every picture that was left out of the import is answered."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cds.cli.main import main

N_IMPORTED = 150
N_LEFT_OUT = 12
ANSWERS = {"compared", "nothing-comparable"}
# Columns of the source -> LOINC code and unit of the labs file.
LAB_COLUMNS = {
    "temperature": ("8310-5", "Cel"),
    "leukocyte_count": ("6690-2", "10*3/uL"),
    "neutrophil_count": ("751-8", "10*3/uL"),
    "lymphocyte_count": ("731-0", "10*3/uL"),
}


@pytest.fixture(scope="module")
def collection(shared_dir: Path) -> Path:
    return shared_dir / "data" / "covid_chestxray"


@pytest.fixture(scope="module")
def rows(collection: Path) -> list[dict[str, str]]:
    with (collection / "metadata_original.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def library(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRECEDENT_STATE_DIR", str(state))
        assert main(["init"]) == 0
        assert (
            main(
                [
                    "library",
                    "import",
                    str(collection),
                    "--writing-reviewed",
                    "--limit",
                    str(N_IMPORTED),
                ]
            )
            == 0
        )
        yield state


def left_out(collection: Path, rows: list[dict[str, str]]) -> list[tuple[Path, dict[str, str]]]:
    """Pictures of rows after the imported ones, of patients who were not imported; labs first."""
    by_stem = {path.stem: path for path in (collection / "images").iterdir()}
    known = {row["patientid"] for row in rows[:N_IMPORTED]}
    later = [
        (by_stem[Path(row["filename"]).stem], row)
        for row in rows[N_IMPORTED:]
        if row["patientid"] not in known and Path(row["filename"]).stem in by_stem
    ]
    later.sort(key=lambda pair: not any(pair[1][column] for column in LAB_COLUMNS))
    return later[: N_LEFT_OUT // 2] + later[-N_LEFT_OUT // 2 :]


def record(row: dict[str, str]) -> dict[str, Any]:
    labs = [
        {"code": code, "value": float(row[column]), "unit": unit}
        for column, (code, unit) in LAB_COLUMNS.items()
        if row[column]
    ]
    sex = {"M": "male", "F": "female"}.get(row["sex"], "unknown")
    age = {"age": int(float(row["age"]))} if row["age"] else {}
    return {"sex": sex, "labs": labs} | age


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["match", *arguments, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_match_of_pictures_left_out_answers_each_with_labs_and_outcomes(
    library: Path, collection: Path, rows: list[dict[str, str]], tmp_path: Path, capsys: Any
) -> None:
    assert library.is_dir()
    compared = []
    for picture, row in left_out(collection, rows):
        labs = tmp_path / "labs.json"
        labs.write_text(json.dumps(record(row)))
        report = answer(capsys, str(picture), "--labs", str(labs))
        if row["age"] and float(row["age"]) < 18:
            continue
        assert report["state"] in ANSWERS
        patients = [neighbor["case_id"] for neighbor in report["neighbors"]]
        assert len(patients) == len(set(patients))
        if report["state"] == "nothing-comparable":
            assert "limit" in report["abstention"]
            continue
        compared.append(report)
    assert len(compared) >= N_LEFT_OUT // 2
    neighbors = [neighbor for report in compared for neighbor in report["neighbors"]]
    assert any(neighbor["outcomes"] for neighbor in neighbors)
    assert any(neighbor["record_similarity"] is not None for neighbor in neighbors)
    assert any(neighbor["shared"] for neighbor in neighbors)


def test_match_of_an_imported_picture_leaves_it_out_and_says_so(
    library: Path, collection: Path, rows: list[dict[str, str]], capsys: Any
) -> None:
    assert library.is_dir()
    by_stem = {path.stem: path for path in (collection / "images").iterdir()}
    report = answer(capsys, str(by_stem[Path(rows[0]["filename"]).stem]))
    assert report["already_in_library"]
    assert all(n["image_similarity"] < 0.9999 for n in report["neighbors"])


def test_match_of_something_that_is_no_picture_is_refused_in_a_sentence(
    library: Path, tmp_path: Path, capsys: Any
) -> None:
    assert library.is_dir()
    (tmp_path / "film.dcm").write_bytes(b"%PDF-1.7 not a film")
    assert main(["match", str(tmp_path / "film.dcm")]) == 2
    assert capsys.readouterr().err.startswith("precedent: ")
