"""A real MR series gives the same key slices from its metadata and from its files."""

from __future__ import annotations

import os
import random
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest

from cds.adapters.dicom_folder import DicomFolderSource
from cds.adapters.dicom_json import wanted_from_metadata
from cds.domain.key_slices import BY_POSITION
from cds.domain.study import StudyRef
from cds.domain.time_limit import TimeLimit
from cds.ports import FhirAccess
from tests.builders.registration import a_registration

FOLDER = Path(os.environ.get("PRECEDENT_SHARED", "../shared")) / "data" / "dicom"
SERIES = FOLDER / "example-dicom-structural"


@pytest.fixture(scope="module")
def metadata() -> list[dict[str, Any]]:
    if not SERIES.exists():
        pytest.skip("The shared DICOM files are not here (PRECEDENT_SHARED).")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            pydicom.dcmread(path, stop_before_pixels=True).to_json_dict()
            for path in sorted(SERIES.rglob("*.dcm"))
        ]


def test_metadata_and_files_give_the_same_slices(metadata: list[dict[str, Any]]) -> None:
    wanted = wanted_from_metadata(metadata, "MR")
    study = StudyRef(study_instance_uid=metadata[0]["0020000D"]["Value"][0], modality="MR")
    frames = DicomFolderSource(SERIES).retrieve_frames(
        FhirAccess(a_registration(), None, "p1"),
        study,
        patient_id_value=None,
        deadline=TimeLimit(60),
    )
    assert [f.sop_instance_uid for f in frames] == [i.sop_instance_uid for i in wanted]
    assert [f.slice_place for f in frames] == [i.place for i in wanted]
    assert len(frames) == 5
    assert {i.place and i.place.ordered_by for i in wanted} == {BY_POSITION}
    assert {i.place and i.place.n_slices for i in wanted} == {len(metadata)}


def test_order_of_the_metadata_does_not_matter(metadata: list[dict[str, Any]]) -> None:
    shuffled = list(metadata)
    random.Random(7).shuffle(shuffled)  # no secret
    assert wanted_from_metadata(shuffled, "MR") == wanted_from_metadata(metadata, "MR")


def test_metadata_without_a_usable_series_wants_nothing() -> None:
    report = {"0020000E": {"vr": "UI", "Value": ["1.2"]}, "00080060": {"vr": "CS", "Value": ["SR"]}}
    assert wanted_from_metadata([report, {}], "CT") == ()
