"""Write the patients to try: FHIR resources, DICOM files, and a list of who they are."""

from __future__ import annotations

import json
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from sandbox.generator.tryout_dicom import film_dataset
from sandbox.generator.tryout_facts import TryoutPatient, neighbour_patients, tryout_patients
from sandbox.generator.tryout_fhir import Resource, hospital_resources, patient_resources

DEFAULT_SEED = 41
_PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"
)
_KEPT_WHEN_TRUNCATED = 0.6


def _write_resources(folder: Path, resources: list[Resource]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for resource in resources:
        path = folder / f"{resource['resourceType']}-{resource['id']}.json"
        path.write_text(json.dumps(resource, indent=1, ensure_ascii=False), encoding="utf-8")


def dicom_bytes(patient: TryoutPatient, header_of: TryoutPatient) -> bytes:
    """Return the bytes of a patient's file: DICOM, cut off, or a PDF, as the table says."""
    film = patient.film or {}
    if film.get("pdf"):
        return _PDF
    buffer = BytesIO()
    film_dataset(patient, header_of).save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    return content[: int(len(content) * _KEPT_WHEN_TRUNCATED)] if film.get("truncated") else content


def _write_tenant(folder: Path, patients: tuple[TryoutPatient, ...], name: str) -> None:
    by_id = {p.patient_id: p for p in patients}
    resources = hospital_resources(name)
    for patient in patients:
        resources += patient_resources(patient)
        if patient.film is None:
            continue
        header_of = by_id[patient.table.get("header_of", patient.patient_id)]
        path = folder / "dicom" / patient.study_instance_uid / f"{patient.uid('instance')}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dicom_bytes(patient, header_of))
    _write_resources(folder / "fhir", resources)


def _entry(patient: TryoutPatient) -> dict[str, Any]:
    film = patient.film
    has_study = film is not None and not patient.table.get("without_imaging_study")
    return {
        "number": patient.number,
        "patient_id": patient.patient_id,
        "is_fixture": not patient.patient_id.startswith("p"),
        "name": f"{patient.table['given']} {patient.table['family']}",
        "age": patient.table["age"],
        "sex": patient.table["sex"],
        "setting": patient.table["setting"],
        "story": patient.table["story"],
        "expected": patient.table["expected"],
        "imaging_study_id": f"{patient.patient_id}-study" if has_study else None,
        "study_instance_uid": patient.study_instance_uid if film is not None else None,
        "accession_number": patient.accession_number if film is not None else None,
        "film_at": patient.film_at.isoformat() if film is not None else None,
        "draft_order_id": f"{patient.patient_id}-draft-ct"
        if patient.table.get("draft_order")
        else None,
    }


def write_tryout(out_dir: Path, now: datetime, seed: int = DEFAULT_SEED) -> Path:
    """Write the twelve patients, the fixtures and the neighbour hospital.

    Parameters
    ----------
    out_dir
        Gets ``fhir/*.json``, ``dicom/<study>/<instance>.dcm``, ``patients.json``, and the
        same for the neighbour hospital under ``tenant_b/``.
    now
        Aware time to which all dates are relative.
    seed
        Decides UIDs and pixels.

    Returns
    -------
    pathlib.Path
        `out_dir`.

    Raises
    ------
    ValueError
        If `now` is not aware.

    """
    if now.tzinfo is None:
        raise ValueError("now must be an aware time")
    home, away = tryout_patients(now, seed), neighbour_patients(now, seed)
    _write_tenant(out_dir, home, home[0].hospital.name)
    _write_tenant(out_dir / "tenant_b", away, away[0].hospital.name)
    for folder, patients in ((out_dir, home), (out_dir / "tenant_b", away)):
        listing = {"now": now.isoformat(), "patients": [_entry(p) for p in patients]}
        (folder / "patients.json").write_text(
            json.dumps(listing, indent=1, ensure_ascii=False), encoding="utf-8"
        )
    return out_dir
