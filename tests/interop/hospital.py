"""A hospital on servers that we did not write: real films in its PACS, its patients on record."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from tests.builders.dicom import a_dicom_instance
from tests.builders.fhir import SNOMED, Resource
from tests.builders.hospital_patient import (
    LABS,
    a_film,
    a_hospital_patient,
    a_report_of,
    labs_of,
)
from tests.servers.fhir_client import FhirClient
from tests.servers.orthanc import Orthanc

COLLECTION = "nih_chestxray14_subset"
N_PAST = 40
PNEUMONIA, CLEAR = ("233604007", "Pneumonia"), ("168734001", "Normal chest film")
UID_ROOT = "2.25.47110815"


@dataclass(frozen=True)
class Film:
    """One film of the shared collection, as the film of a patient of this hospital."""

    patient_id: str
    number: int
    path: Path
    age_years: int
    sex: str
    view: str
    has_pneumonia: bool
    started_at: datetime

    @property
    def study_instance_uid(self) -> str:
        return f"{UID_ROOT}{self.number:04d}"

    @property
    def born_on(self) -> str:
        return f"{self.started_at.year - self.age_years - 1}-12-31"

    @property
    def dicom(self) -> bytes:
        with Image.open(self.path) as picture:
            stored = np.asarray(picture.convert("L"))
        return a_dicom_instance(
            stored,
            PatientID=self.patient_id.upper(),
            PatientBirthDate=self.born_on.replace("-", ""),
            PatientSex=self.sex,
            PatientName="Synthetic^Name",
            StudyInstanceUID=self.study_instance_uid,
            SeriesInstanceUID=f"{self.study_instance_uid}.1",
            SOPInstanceUID=f"{self.study_instance_uid}.1.1",
            AccessionNumber=f"A-{self.patient_id.upper()}",
            StudyDate=f"{self.started_at:%Y%m%d}",
            StudyTime=f"{self.started_at:%H%M%S}",
            ViewPosition=self.view,
        )


@dataclass(frozen=True)
class Films:
    """Films of past patients, the one that waits to be read, and one that is not there yet."""

    past: tuple[Film, ...]
    waiting: Film
    coming: Film


def films(shared_dir: Path) -> Films:
    """Choose films of as many adult patients of the shared collection."""
    folder = shared_dir / "data" / COLLECTION
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    half = N_PAST // 2
    chosen = [*_patients(rows, "No Finding", half), *_patients(rows, "Pneumonia", half + 2)]
    now = datetime.now(UTC).replace(microsecond=0)
    found = []
    for number, row in enumerate(chosen):
        age = timedelta(days=400 + number) if number < N_PAST else timedelta(hours=1)
        film = Film(
            patient_id=f"h{number:03d}",
            number=number,
            path=folder / row["file"],
            age_years=int(row["age"]),
            sex=row["sex"],
            view=row["view"],
            has_pneumonia="Pneumonia" in row["labels"],
            started_at=now - age,
        )
        found.append(film)
    return Films(tuple(found[:N_PAST]), found[N_PAST], found[N_PAST + 1])


def _patients(rows: Iterable[dict[str, str]], label: str, n: int) -> Iterator[dict[str, str]]:
    seen: set[str] = set()
    for row in rows:
        is_adult = row["labels"].startswith(label) and int(row["age"]) >= 18
        if is_adult and row["patient_id"] not in seen and len(seen) < n:
            seen.add(row["patient_id"])
            yield row


def patient_of(film: Film) -> list[Resource]:
    """The film's patient, with laboratory results of the hour before the film."""
    gender = {"M": "male", "F": "female"}[film.sex]
    crp = 120.0 if film.has_pneumonia else 4.0
    labs = [("1988-5", crp + film.number, "mg/L"), *LABS[1:]]
    return [
        a_hospital_patient(film.patient_id, gender=gender, birthDate=film.born_on),
        *labs_of(film.patient_id, film.started_at - timedelta(hours=1), labs),
    ]


def report_of(film: Film) -> Resource:
    """The signed report of a film."""
    code, display = PNEUMONIA if film.has_pneumonia else CLEAR
    return a_report_of(
        film.patient_id,
        film.started_at + timedelta(hours=2),
        category=[{"coding": [{"code": "RAD"}]}],
        conclusion=display,
        conclusionCode=[{"coding": [{"system": SNOMED, "code": code, "display": display}]}],
    )


def arrival_of(film: Film, pacs: Orthanc) -> tuple[Resource, ...]:
    """The ImagingStudy of a film, after the Endpoint that it refers to."""
    uid, started_at = film.study_instance_uid, film.started_at
    return a_film(film.patient_id, uid, started_at, pacs.dicomweb_url)


def take(film: Film, pacs: Orthanc, ehr: FhirClient) -> None:
    """Let a film arrive: in the PACS, then on record."""
    assert pacs.store(film.dicom) == 1
    for resource in arrival_of(film, pacs):
        ehr.put(resource)


def fill(pacs: Orthanc, ehr: FhirClient, held: Films) -> None:
    """Put the films into the PACS, their patients on record, and reports of all but the last."""
    pacs.clear()
    there = (*held.past, held.waiting)
    assert pacs.store(*(film.dicom for film in there)) == len(there)
    ehr.put_all(
        [
            *(resource for film in (*there, held.coming) for resource in patient_of(film)),
            *(resource for film in there for resource in arrival_of(film, pacs)),
            *(report_of(film) for film in held.past),
        ]
    )
