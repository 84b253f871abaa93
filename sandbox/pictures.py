"""Make one patient of each picture in a folder: ``python -m sandbox.pictures``.

For a demo over a real library of chest films: pictures that were left out of the import become
patients of the sandbox, each with a DICOM file made from the picture and nothing else on record.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
N_PICTURES_LIMIT = 200
MRN_SYSTEM = "urn:oid:2.25.20250101.1"  # used when the try-out patients state no other
_FILM_AGE = timedelta(hours=2)
_NAMESPACE = uuid.UUID("5b9a3a0e-6a55-4b5b-9d0e-1f7a2f6f2b11")
_IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"
_SNOMED = "http://snomed.info/sct"
_DICOM_MODALITY = "http://dicom.nema.org/resources/ontology/DCM"


@dataclass(frozen=True, slots=True)
class PicturePatient:
    """The identity that a picture gets; the same picture gets the same one every time."""

    number: int
    stem: str
    mrn_system: str
    pacs_issuer: str | None

    @property
    def patient_id(self) -> str:
        """Return the FHIR id."""
        return f"picture-{self.number}"

    @property
    def mrn(self) -> str:
        """Return the record number."""
        return f"PIC{self.number:05d}"

    @property
    def accession_number(self) -> str:
        """Return the accession number."""
        return f"PIC{self.number:05d}A"

    def uid(self, level: str) -> str:
        """Return a UID of the study, series or instance."""
        return f"2.25.{uuid.uuid5(_NAMESPACE, f'{self.stem}/{level}').int}"


def picture_as_dicom(
    stored_pixels: NDArray[np.uint8], patient: PicturePatient, film_at: datetime
) -> Dataset:
    """Return a digital X-ray object around a picture.

    Parameters
    ----------
    stored_pixels
        Shape ``(rows, columns)``, 0 black.

    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(patient.uid("instance"))
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = patient.uid("instance")
    dataset.StudyInstanceUID = patient.uid("study")
    dataset.SeriesInstanceUID = patient.uid("series")
    dataset.PatientID, dataset.PatientName = patient.mrn, f"Picture^{patient.number}"
    if patient.pacs_issuer:
        dataset.IssuerOfPatientID = patient.pacs_issuer
    dataset.StudyDate, dataset.StudyTime = film_at.strftime("%Y%m%d"), film_at.strftime("%H%M%S")
    dataset.AccessionNumber = patient.accession_number
    dataset.Modality, dataset.BodyPartExamined, dataset.InstanceNumber = "DX", "CHEST", 1
    dataset.Rows, dataset.Columns = stored_pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    content = stored_pixels.tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    return dataset


def picture_resources(patient: PicturePatient, film_at: datetime) -> list[dict[str, Any]]:
    """Return the FHIR record of a picture: the patient and the study, nothing invented."""
    return [_patient(patient), _imaging_study(patient, film_at)]


def _identifier(kind: str, value: str) -> dict[str, Any]:
    return {"value": value, "type": {"coding": [{"system": _IDENTIFIER_TYPE, "code": kind}]}}


def _patient(patient: PicturePatient) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": patient.patient_id,
        "identifier": [_identifier("MR", patient.mrn) | {"system": patient.mrn_system}],
        "name": [{"family": "Picture", "given": [str(patient.number)]}],
    }


def _imaging_study(patient: PicturePatient, film_at: datetime) -> dict[str, Any]:
    sop_class = {
        "system": "urn:ietf:rfc:3986",
        "code": f"urn:oid:{DigitalXRayImageStorageForPresentation}",
    }
    series = {
        "uid": patient.uid("series"),
        "modality": {"system": _DICOM_MODALITY, "code": "DX"},
        "numberOfInstances": 1,
        "bodySite": {"system": _SNOMED, "code": "51185008", "display": "Thoracic structure"},
        "instance": [{"uid": patient.uid("instance"), "sopClass": sop_class}],
    }
    return {
        "resourceType": "ImagingStudy",
        "id": f"{patient.patient_id}-study",
        "status": "available",
        "identifier": [
            {"system": "urn:dicom:uid", "value": f"urn:oid:{patient.uid('study')}"},
            _identifier("ACSN", patient.accession_number),
        ],
        "subject": {"reference": f"Patient/{patient.patient_id}"},
        "started": film_at.isoformat(timespec="seconds"),
        "description": "Chest radiograph",
        "numberOfSeries": 1,
        "numberOfInstances": 1,
        "series": [series],
    }


def write_pictures(pictures: Path, out_dir: Path, *, now: datetime) -> int:
    """Add one patient per picture to a folder of try-out patients, and return how many.

    Parameters
    ----------
    out_dir
        As the generator lays it out; the pictures take the record-number system of its patients.

    """
    mrn_system, pacs_issuer = _systems(out_dir / "fhir")
    paths = sorted(p for p in pictures.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
    (out_dir / "fhir").mkdir(parents=True, exist_ok=True)
    written = 0
    for number, path in enumerate(paths[:N_PICTURES_LIMIT], start=1):
        patient = PicturePatient(number, path.stem, mrn_system, pacs_issuer)
        written += _write_one(path, patient, out_dir, now - _FILM_AGE)
    return written


def _systems(fhir_dir: Path) -> tuple[str, str | None]:
    """Return the record-number system and the issuer of the patients who are there already."""
    for path in sorted(fhir_dir.glob("Patient-*.json")):
        identifier = json.loads(path.read_text(encoding="utf-8"))["identifier"][0]
        return identifier["system"], identifier.get("assigner", {}).get("display")
    return MRN_SYSTEM, None


def _write_one(path: Path, patient: PicturePatient, out_dir: Path, film_at: datetime) -> bool:
    """Write one patient; a file that is no picture is named and left out."""
    try:
        with Image.open(path) as picture:
            stored_pixels = np.asarray(picture.convert("L"))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        print(f"Left out, not a readable picture: {path.name}", file=sys.stderr)
        return False
    target = out_dir / "dicom" / patient.uid("study") / f"{patient.uid('instance')}.dcm"
    target.parent.mkdir(parents=True, exist_ok=True)
    dicom = picture_as_dicom(stored_pixels, patient, film_at)
    dicom.save_as(target, enforce_file_format=True)
    for resource in picture_resources(patient, film_at):
        name = f"{resource['resourceType']}-{resource['id']}.json"
        (out_dir / "fhir" / name).write_text(json.dumps(resource, indent=1), encoding="utf-8")
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options and write the patients."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.pictures", description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    written = write_pictures(options.pictures, options.out, now=datetime.now(UTC))
    print(f"{written} pictures became patients.")
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
