"""ChestX-ray14, the Hannover collection, Open-i, labelled folders, DICOM folders."""

import csv
from pathlib import Path
from typing import Any

import pytest

from cds.domain.errors import CdsError, Reason
from cds.library.source_case import RejectedRow, SourceCase
from cds.library.sources import Source, SourceRequest, open_source
from tests.builders.dicom import a_dataset, dicom_bytes
from tests.builders.library import png_bytes

NIH_HEADER = [
    *("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age"),
    *("Patient Gender", "View Position", "OriginalImage[Width"),
]
HANNOVER_ROW = {
    "patient_id": "p1",
    "image_id": "i1",
    "sex": "f",
    "age": "",
    "modality": "CR",
    "projection": "ap",
    "admission_offset": "-2",
    "icu_admission_offset": "",
    "icu_release_offset": "",
    "death_offset": "",
    "crp_offset": "0.0",
    "crp_val": "38.0",
    "ldh_offset": "-4.0",
    "ldh_val": "350.0",
    "po2_offset": "0.0",
    "po2_val": "55.0",
    "d-dimer_offset": "0.0",
    "d-dimer_val": "0.4",
}


def write_table(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def cases(source: Source) -> list[SourceCase]:
    return [row for row in source.rows if isinstance(row, SourceCase)]


def rejected(source: Source) -> list[RejectedRow]:
    return [row for row in source.rows if isinstance(row, RejectedRow)]


def a_nih_folder(folder: Path, *, age: str = "058Y", labels: str = "Effusion|Infiltration") -> Path:
    write_table(
        folder / "Data_Entry_2017_v2020.csv",
        NIH_HEADER,
        [
            ["00000003_000.png", labels, "0", "3", age, "F", "PA", "2500"],
            ["00000003_001.png", "No Finding", "1", "3", "59", "F", "AP", "2500"],
        ],
    )
    (folder / "images_001/images").mkdir(parents=True)
    (folder / "images_001/images/00000003_000.png").write_bytes(png_bytes())
    return folder


def a_hannover_case(tmp_path: Path, **overrides: str) -> SourceCase:
    row = {**HANNOVER_ROW, **overrides}
    write_table(tmp_path / "data.csv", list(row), [list(row.values())])
    (tmp_path / "png").mkdir()
    (tmp_path / "png/i1.png").write_bytes(png_bytes())
    (case,) = cases(open_source(SourceRequest(folder=tmp_path)))
    return case


def test_nih_row_when_its_picture_is_there_becomes_a_case(tmp_path: Path) -> None:
    source = open_source(SourceRequest(folder=a_nih_folder(tmp_path)))
    assert source.layout == "nih-chestxray14"
    (case,) = cases(source)
    assert (case.patient_value, case.age_years, case.sex) == ("3", 58, "female")
    assert case.is_reference
    assert [(f.coding.code, f.proof, f.is_diagnosis) for f in case.findings] == [
        ("60046008", "report", False),
        (None, "report", False),
    ]


def test_nih_rows_when_pictures_are_absent_are_counted_in_one_line(tmp_path: Path) -> None:
    (row,) = rejected(open_source(SourceRequest(folder=a_nih_folder(tmp_path))))
    assert row.reason == "1 rows name pictures that are not in the folder"


def test_nih_age_when_impossible_is_set_aside(tmp_path: Path) -> None:
    (case,) = cases(open_source(SourceRequest(folder=a_nih_folder(tmp_path, age="414"))))
    assert case.age_years is None
    assert case.set_aside[0].reason == "not plausible"


def test_nih_pneumonia_when_mined_from_text_is_no_diagnosis(tmp_path: Path) -> None:
    (case,) = cases(open_source(SourceRequest(folder=a_nih_folder(tmp_path, labels="Pneumonia"))))
    assert case.findings[0].coding.code == "233604007"
    assert not case.findings[0].is_diagnosis


def test_hannover_row_when_read_uses_only_values_of_the_film(tmp_path: Path) -> None:
    case = a_hannover_case(tmp_path)
    assert [(m.code, m.value) for m in case.measurements] == [("1988-5", 38.0)]
    assert {one.display for one in case.set_aside} == {"LDH", "pO2", "D-dimer"}
    assert (case.sex, case.view_position, case.age_years) == ("female", "AP", None)
    assert case.findings[0].coding.display == "COVID-19"


@pytest.mark.parametrize(
    ("offsets", "outcomes", "states"),
    [
        pytest.param({}, {"icu-admission": 0.0, "death": 0.0}, (), id="neither"),
        pytest.param(
            {"icu_admission_offset": "3.0", "icu_release_offset": "9.0", "death_offset": "9.0"},
            {"icu-admission": 1.0, "death": 1.0},
            (),
            id="after-the-film",
        ),
        pytest.param(
            {"icu_admission_offset": "-2.0", "icu_release_offset": "2.0"},
            {"death": 0.0},
            ("icu",),
            id="in-icu-at-the-film",
        ),
        pytest.param(
            {"icu_admission_offset": "-9.0", "icu_release_offset": "-2.0"},
            {"death": 0.0},
            (),
            id="left-icu-before",
        ),
    ],
)
def test_hannover_course_when_read_counts_only_what_came_after(
    tmp_path: Path, offsets: dict[str, str], outcomes: dict[str, float], states: tuple[str, ...]
) -> None:
    case = a_hannover_case(tmp_path, **offsets)
    assert {o.code: o.value for o in case.outcomes} == outcomes
    assert case.states_at_film == states


def test_hannover_film_when_long_before_the_admission_carries_no_diagnosis(tmp_path: Path) -> None:
    assert a_hannover_case(tmp_path, admission_offset="10").findings == ()


OPENI_XML = """<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR7"/>
<licenseURL href="http://licence.example.invalid/by"/><MedlineCitation><Article><Abstract>
<AbstractText Label="INDICATION">Pneumonia?</AbstractText>
<AbstractText Label="FINDINGS">Cardiomegaly. No effusion.</AbstractText>
</Abstract></Article></MedlineCitation>
<MeSH><major>Cardiomegaly/mild</major></MeSH><parentImage id="CXR7_IM-0001-3001"/></eCitation>"""


def test_openi_xml_when_read_gives_report_and_stated_findings(tmp_path: Path) -> None:
    (tmp_path / "ecgen-radiology").mkdir()
    (tmp_path / "ecgen-radiology/7.xml").write_text(OPENI_XML, encoding="utf-8")
    (tmp_path / "CXR7_IM-0001-3001.png").write_bytes(png_bytes())
    (case,) = cases(open_source(SourceRequest(folder=tmp_path)))
    assert [f.coding.display for f in case.findings] == ["Cardiomegaly"]
    assert case.report_text is not None
    assert "No effusion" in case.report_text
    assert (case.patient_value, case.licence) == ("CXR7", "http://licence.example.invalid/by")


def test_openi_xml_when_it_holds_an_entity_bomb_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "ecgen-radiology").mkdir()
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><eCitation>&b;</eCitation>'
    (tmp_path / "ecgen-radiology/8.xml").write_text(bomb, encoding="utf-8")
    (row,) = rejected(open_source(SourceRequest(folder=tmp_path)))
    assert row.row_name == "8.xml"


def test_openi_table_when_pictures_lie_elsewhere_joins_them(shared_dir: Path) -> None:
    data = shared_dir / "data"
    request = SourceRequest(folder=data / "openi_reports", root=data / "openi_hello_world/original")
    found = cases(open_source(request))
    assert len(found) > 10
    assert all(c.report_text for c in found)
    assert {f.coding.display for c in found for f in c.findings} >= {"No finding"}


def a_labelled_folder(folder: Path) -> Path:
    for name in ("NORMAL/person1_a.png", "PNEUMONIA/person2_b.png", "open_I_abdomen/person2_c.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(png_bytes())
    return folder


def labelled(folder: Path, **values: Any) -> Source:
    return open_source(SourceRequest(folder=folder, layout="labelled-folder", **values))


def test_labelled_folder_when_patients_are_not_told_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CdsError) as refusal:
        labelled(a_labelled_folder(tmp_path))
    assert refusal.value.reason is Reason.INVALID_REQUEST
    assert "--patient-pattern" in refusal.value.sentence


def test_labelled_folder_when_a_pattern_is_given_tells_patients_apart(tmp_path: Path) -> None:
    found = cases(labelled(a_labelled_folder(tmp_path), patient_pattern=r"person(\d+)_"))
    assert [(c.patient_value, c.findings[0].coding.display) for c in found] == [
        ("1", "No finding"),
        ("2", "Pneumonia"),
        ("2", "open I abdomen"),
    ]
    assert [c.findings[0].is_diagnosis for c in found] == [False, True, False]


def test_labelled_folder_when_a_name_lacks_the_patient_sets_it_apart(tmp_path: Path) -> None:
    folder = a_labelled_folder(tmp_path)
    (folder / "NORMAL/other.png").write_bytes(png_bytes())
    (row,) = rejected(labelled(folder, patient_pattern=r"person(\d+)_"))
    assert row.row_name == "NORMAL/other.png"


def test_labelled_folder_when_the_pattern_has_no_group_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CdsError, match="regular expression with a group"):
        list(labelled(a_labelled_folder(tmp_path), patient_pattern="person").rows)


def test_dicom_folder_when_recognised_gives_one_case_per_study(tmp_path: Path) -> None:
    for number in (1, 2):
        dataset = a_dataset(SOPInstanceUID=f"1.2.3.{number}", InstanceNumber=number)
        (tmp_path / f"{3 - number}").write_bytes(dicom_bytes(dataset))
    source = open_source(SourceRequest(folder=tmp_path))
    assert source.layout == "dicom-folder"
    (case,) = cases(source)
    assert [p.name for p in case.pictures] == ["2", "1"]
    assert (case.patient_value, case.modality, case.age_years) == (None, "DX", 66)
    assert case.known_at is not None
    assert case.known_at.isoformat() == "2026-01-05T06:41:00+00:00"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        pytest.param({"StudyDate": ""}, "known_at is missing", id="undated"),
        pytest.param({"Modality": "US"}, "neither a radiograph", id="other-modality"),
        pytest.param({"StudyInstanceUID": ""}, "names no study", id="no-study"),
    ],
)
def test_dicom_file_when_it_cannot_be_a_case_is_set_apart(
    tmp_path: Path, overrides: dict[str, Any], reason: str
) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(a_dataset(**overrides)))
    (row,) = rejected(open_source(SourceRequest(folder=tmp_path)))
    assert reason in row.reason


def test_dicom_folder_when_it_holds_a_series_takes_its_key_slices(tmp_path: Path) -> None:
    for number in range(1, 42):
        dataset = a_dataset(
            SOPInstanceUID=f"1.2.3.{number}",
            InstanceNumber=number,
            Modality="CT",
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            ImagePositionPatient=[0.0, 0.0, 5.0 * number],
            ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        )
        (tmp_path / f"{number:02}.dcm").write_bytes(dicom_bytes(dataset))
    (case,) = cases(open_source(SourceRequest(folder=tmp_path)))
    assert case.modality == "CT"
    assert [p.name for p in case.pictures] == ["21.dcm", "09.dcm", "15.dcm", "27.dcm", "33.dcm"]


def test_dicom_folder_when_a_study_is_planning_only_is_set_apart(tmp_path: Path) -> None:
    dataset = a_dataset(Modality="CT", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(dataset))
    (row,) = rejected(open_source(SourceRequest(folder=tmp_path)))
    assert "planning views" in row.reason


def test_dicom_folder_when_declared_a_reference_takes_no_dates(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(a_dataset(StudyDate="")))
    (case,) = cases(open_source(SourceRequest(folder=tmp_path, is_reference=True)))
    assert case.is_reference
    assert case.known_at is None


def test_folder_when_no_layout_fits_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("nothing", encoding="utf-8")
    with pytest.raises(CdsError, match="ChestX-ray14"):
        open_source(SourceRequest(folder=tmp_path))
