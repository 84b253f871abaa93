"""Rows for training from a person's own folder: patient, label and side are stated or refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cds.domain.errors import CdsError, Reason
from models.training.folder_rows import FolderReading, folder_rows
from models.training.rows import Row

PATTERN = re.compile(r"p(\d+)_")
HEADER = "file,patient_id,labels,image_licence,split"


def a_table(folder: Path, *lines: str, header: str = HEADER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return folder


def classes(folder: Path, *names: str, **reading: object) -> list[Row]:
    files = [folder / name for name in names]
    return folder_rows(folder, files, FolderReading(**reading))  # type: ignore[arg-type]


def test_class_folders_when_read_give_label_patient_and_a_name_that_is_unique(
    tmp_path: Path,
) -> None:
    (tmp_path / "site").mkdir()
    rows = classes(
        tmp_path / "site", "Old_scar/p1_0.png", "Normal/p1_0.png", patient_pattern=PATTERN
    )

    assert [row.name for row in rows] == ["site/Normal/p1_0.png", "site/Old_scar/p1_0.png"]
    assert [row.labels for row in rows] == [{"Normal"}, {"Old scar"}]
    assert {row.patient for row in rows} == {"site:1"}


def test_patient_when_nothing_names_one_has_to_be_declared(tmp_path: Path) -> None:
    with pytest.raises(CdsError, match="--one-patient-per-picture") as refused:
        classes(tmp_path, "Normal/1.png")

    declared = classes(tmp_path, "Normal/1.png", "Old/1.png", is_one_patient_per_picture=True)
    assert refused.value.reason is Reason.INVALID_REQUEST
    assert len({row.patient for row in declared}) == 2


def test_patient_when_the_pattern_does_not_fit_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CdsError, match="names no patient"):
        classes(tmp_path, "Normal/x.png", patient_pattern=PATTERN, is_one_patient_per_picture=True)


def test_split_folders_when_kept_give_sides_and_only_then(tmp_path: Path) -> None:
    names = ("training/Normal/p1_0.png", "val/Normal/p2_0.png", "test/Old/p3_0.png")

    kept = classes(tmp_path, *names, patient_pattern=PATTERN, keeps_split=True)
    free = classes(tmp_path, *names, patient_pattern=PATTERN)

    assert {row.path.name: row.side for row in kept} == {
        "p1_0.png": "train",
        "p2_0.png": "validation",
        "p3_0.png": "test",
    }
    assert {row.side for row in free} == {None}


def test_split_folder_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CdsError, match="named train, validation or test"):
        classes(tmp_path, "fold1/Normal/p1_0.png", patient_pattern=PATTERN, keeps_split=True)


def test_table_when_read_gives_labels_licence_and_side(tmp_path: Path) -> None:
    folder = a_table(tmp_path / "site", "images/1.png,p1,A|B,CC0,valid", "images/2.png,p2,,,train")

    rows = folder_rows(folder, [], FolderReading(licence="ours", keeps_split=True))

    assert rows == [
        Row(
            *("site", folder / "images/1.png", "site:p1", frozenset({"A", "B"}), "CC0"),
            side="validation",
        ),
        Row("site", folder / "images/2.png", "site:p2", frozenset(), "ours", side="train"),
    ]


def test_tables_of_several_sources_when_in_one_folder_are_all_read(tmp_path: Path) -> None:
    a_table(tmp_path / "a", "1.png,p1,A,CC0,")
    a_table(tmp_path / "b", "1.png,p1,A,CC0,")

    rows = folder_rows(tmp_path, [], FolderReading())

    assert [(row.source, row.patient) for row in rows] == [("a", "a:p1"), ("b", "b:p1")]


@pytest.mark.parametrize(
    ("header", "line", "sentence"),
    [
        ("file,patient_id", "1.png,p1", "no column labels"),
        ("file,patient_id,labels", "1.png,,A", "Line 2 of metadata.csv names no patient"),
        (HEADER, "1.png,p1,A,CC0,", "Line 2 of metadata.csv states no side"),
    ],
    ids=["column", "patient", "side"],
)
def test_table_that_lacks_something_is_refused(
    tmp_path: Path, header: str, line: str, sentence: str
) -> None:
    folder = a_table(tmp_path / "site", line, header=header)

    with pytest.raises(CdsError, match=sentence):
        folder_rows(folder, [], FolderReading(keeps_split=True))


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CdsError, match=r"neither metadata\.csv nor"):
        folder_rows(tmp_path, [tmp_path / "loose.png"], FolderReading())
