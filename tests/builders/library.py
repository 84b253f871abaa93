"""Pictures, tables and cases of a library, valid by default; one override per test."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cds.domain.case import CasePicture, LibraryCase, ViewGroup
from cds.domain.coding import Coding
from cds.domain.facts import Finding, HistoryFlag, Measurement, Outcome

SEEDED_PATIENT = "ZZ-SEEDED-4711"
SEEDED_NOTE = "Mr Seeded Surname lives in Seedville"
NATIVE_HEADER = (
    *("patientid", "offset", "sex", "age", "finding", "survival", "intubated"),
    *("intubation_present", "went_icu", "in_icu", "needed_supplemental_O2", "extubated"),
    *("temperature", "pO2_saturation", "leukocyte_count", "neutrophil_count"),
    *("lymphocyte_count", "view", "modality", "date", "location", "folder", "filename", "doi"),
    *("url", "license", "clinical_notes", "other_notes", ""),
)


def png_bytes(seed: int = 0, rows: int = 40, columns: int = 32) -> bytes:
    """A grey PNG of noise."""
    return _encoded(seed, rows, columns, "PNG")


def jpeg_bytes(seed: int = 0, rows: int = 40, columns: int = 32) -> bytes:
    """A grey JPEG of noise."""
    return _encoded(seed, rows, columns, "JPEG")


def _encoded(seed: int, rows: int, columns: int, kind: str) -> bytes:
    grey = np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(grey).save(stream, format=kind)
    return stream.getvalue()


def flat_png() -> bytes:
    """A PNG of one tone, which no library takes."""
    stream = BytesIO()
    Image.new("L", (20, 20), 9).save(stream, format="PNG")
    return stream.getvalue()


def a_native_row(**overrides: str) -> dict[str, str]:
    """One row of covid-chestxray-dataset's table."""
    row = dict.fromkeys(NATIVE_HEADER, "")
    row.update(
        patientid=SEEDED_PATIENT,
        sex="M",
        age="60",
        finding="COVID-19",
        view="PA",
        modality="X-ray",
        folder="images",
        date="January 6, 2020",
        filename="a.png",
    )
    return {**row, **overrides}


@dataclass(frozen=True)
class NativeFolder:
    """A folder in the native layout, written as rows are added."""

    path: Path

    def write(self, rows: list[dict[str, str]], pictures: dict[str, bytes]) -> Path:
        images = self.path / "images"
        images.mkdir(parents=True, exist_ok=True)
        for name, content in pictures.items():
            (images / name).write_bytes(content)
        with (self.path / "metadata.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=NATIVE_HEADER)
            writer.writeheader()
            writer.writerows(rows)
        return self.path


def a_picture(picture_id: str = "picture-1", **overrides: Any) -> CasePicture:
    values: dict[str, Any] = {
        "picture_id": picture_id,
        "blob_key": "0" * 64,
        "rows": 40,
        "columns": 32,
        "view_group": ViewGroup.PA,
        "perceptual_hash": 2**63 + 5,
        "laterality": None,
    }
    return CasePicture(**{**values, **overrides})


def a_case(case_id: str = "case-1", **overrides: Any) -> LibraryCase:
    values: dict[str, Any] = {
        "case_id": case_id,
        "collection": "collection A",
        "patient_key": f"patient of {case_id}",
        "study_key": f"study of {case_id}",
        "modality": "DX",
        "body_part": "CHEST",
        "view_group": ViewGroup.PA,
        "age_years": 67,
        "sex": "male",
        "known_at": datetime(2023, 5, 11, 6, 52, tzinfo=UTC),
        "film_year": 2023,
        "findings": (
            Finding(Coding("Pneumonia", "233604007"), "culture", is_diagnosis=True),
            Finding(Coding("Left-sided opacity")),
        ),
        "measurements": (Measurement("1988-5", 165.0, "mg/L", datetime(2023, 4, 11, tzinfo=UTC)),),
        "history": (HistoryFlag(Coding("COPD", "13645005"), date(2019, 2, 3)),),
        "outcomes": (Outcome("death", 30, 0.0, date(2023, 5, 11), "table"),),
        "states_at_film": ("oxygen",),
        "report_text": None,
        "licence": "CC0-1.0",
        "pictures": (a_picture(f"picture of {case_id}"),),
    }
    return LibraryCase(**{**values, **overrides})
