"""Pictures that become patients of the sandbox."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from PIL import Image

from sandbox.pictures import write_pictures

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_picture_when_made_a_patient_keeps_its_pixels_and_agrees_with_the_record(
    tmp_path: Path,
) -> None:
    pixels = np.arange(63, dtype=np.uint8).reshape(7, 9)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "left-out.png")
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "tryout"
    assert write_pictures(tmp_path / "in", out, now=NOW) == 1
    (path,) = out.glob("dicom/*/*.dcm")
    dataset = pydicom.dcmread(path)
    np.testing.assert_array_equal(dataset.pixel_array, pixels)
    patient, study = (
        json.loads(one.read_text())
        for pattern in ("Patient-*.json", "ImagingStudy-*.json")
        for one in (out / "fhir").glob(pattern)
    )
    assert patient["identifier"][0]["value"] == dataset.PatientID
    assert study["identifier"][0]["value"] == f"urn:oid:{dataset.StudyInstanceUID}"
    assert study["identifier"][1]["value"] == dataset.AccessionNumber
    assert study["subject"]["reference"] == f"Patient/{patient['id']}"
    assert path.parent.name == dataset.StudyInstanceUID


def test_picture_when_written_twice_has_the_same_uids(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "in" / "a.png")
    for name in ("one", "two"):
        write_pictures(tmp_path / "in", tmp_path / name, now=NOW)
    first, second = (
        sorted(p.name for p in (tmp_path / name).glob("dicom/*/*")) for name in ("one", "two")
    )
    assert first == second
