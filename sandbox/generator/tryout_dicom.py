"""DICOM files of the patients to try: pixels with the header that a hospital would write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from sandbox.generator.abdomen import render_abdomen
from sandbox.generator.anatomy import draw_habitus
from sandbox.generator.exposure import StoredMap
from sandbox.generator.places import SignSpec
from sandbox.generator.thorax import draw_plan, render
from sandbox.generator.tryout_facts import TryoutPatient
from sandbox.generator.tryout_fhir import CR_SOP_CLASS, DX_SOP_CLASS

IMPLEMENTATION_UID = "2.25.302817403385624104733718246540236511001"
_CHILD_SCALE = 0.52


def film_pixels(patient: TryoutPatient) -> tuple[StoredMap, float]:
    """Make a patient's film.

    Returns
    -------
    tuple
        Stored pixels of shape (512, 512), uint16 in 12 bits, MONOCHROME2; pixel spacing in mm.

    """
    film: Mapping[str, Any] = patient.film or {}
    rng = np.random.default_rng((patient.seed, patient.number, len(patient.hospital.issuer)))
    if film.get("abdomen"):
        return render_abdomen(rng), 0.76
    habitus = draw_habitus(
        rng, sex=patient.table["sex"], age_years=max(int(patient.table["age"]), 18)
    )
    if film.get("child"):
        habitus = replace(habitus, breast=0.0, height=0.90, width=1.0, heart=1.10, wall=0.7)
    signs = tuple(SignSpec(kind, side, place, size) for kind, side, place, size in film["signs"])
    plan = draw_plan(
        rng, habitus, view=film["view"], signs=signs, devices=tuple(film.get("devices", ()))
    )
    made = render(plan, rng)
    pixels = np.rot90(made.stored_pixels, int(film.get("quarter_turns", 0)))
    spacing = made.pixel_spacing_mm * (_CHILD_SCALE if film.get("child") else 1.0)
    return np.ascontiguousarray(pixels), spacing


def _identity(dataset: Dataset, who: TryoutPatient) -> None:
    dataset.PatientName = f"{who.table['family']}^{who.table['given']}^^SYNTHETIC"
    dataset.PatientID = who.mrn
    dataset.IssuerOfPatientID = who.hospital.issuer
    dataset.PatientBirthDate = who.birth_date.strftime("%Y%m%d")
    dataset.PatientSex = {"male": "M", "female": "F"}[who.table["sex"]]
    dataset.PatientAge = f"{int(who.table['age']):03d}Y"


def _study(dataset: Dataset, patient: TryoutPatient) -> None:
    film = patient.film or {}
    at = patient.film_at
    dataset.StudyInstanceUID = patient.study_instance_uid
    dataset.SeriesInstanceUID = patient.uid("series")
    dataset.SOPInstanceUID = patient.uid("instance")
    dataset.AccessionNumber = patient.accession_number
    dataset.StudyID = patient.accession_number
    for part in ("Study", "Series", "Acquisition", "Content"):
        setattr(dataset, f"{part}Date", at.strftime("%Y%m%d"))
        setattr(dataset, f"{part}Time", at.strftime("%H%M%S"))
    dataset.TimezoneOffsetFromUTC = "+0000"
    dataset.StudyDescription = "Chest X-ray"
    dataset.SeriesDescription = f"Chest {film['view']}"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = film["view"]
    dataset.PatientOrientation = ["L", "F"]
    dataset.ReferringPhysicianName = "Lindqvist^Jonas"
    dataset.InstitutionName = patient.hospital.name
    dataset.Manufacturer = "Synthetic radiograph generator"
    dataset.ManufacturerModelName = "Parametric thorax"
    dataset.ImageComments = "SYNTHETIC"
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.BurnedInAnnotation = "NO"
    dataset.Laterality = ""
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Chest"
    dataset.AnatomicRegionSequence = Sequence([region])


def _pixels(dataset: Dataset, stored: StoredMap, spacing_mm: float, *, is_inverted: bool) -> None:
    top = 4095
    values = (top - stored if is_inverted else stored).astype("<u2")
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if is_inverted else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if is_inverted else "IDENTITY"
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelSpacing = [f"{spacing_mm:.4f}"] * 2
    dataset.ImagerPixelSpacing = [f"{spacing_mm * 1.05:.4f}"] * 2
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if is_inverted else -1
    dataset.LossyImageCompression = "00"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.DetectorType = "DIRECT"
    dataset.PixelData = values.tobytes()


def film_dataset(patient: TryoutPatient, header_of: TryoutPatient) -> FileDataset:
    """Make a patient's film as a DICOM dataset.

    Parameters
    ----------
    patient
        Whose study it is.
    header_of
        Whose identity the header carries: the same patient, but for the planted mix-ups.

    Returns
    -------
    pydicom.dataset.FileDataset
        DX For Presentation (CR where stored as MONOCHROME1), explicit VR little endian.

    """
    film = patient.film or {}
    is_inverted = bool(film.get("monochrome1"))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(CR_SOP_CLASS if is_inverted else DX_SOP_CLASS)
    meta.MediaStorageSOPInstanceUID = UID(patient.uid("instance"))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    dataset = FileDataset(BytesIO(), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.Modality = "CR" if is_inverted else "DX"
    _identity(dataset, header_of)
    _study(dataset, patient)
    stored, spacing_mm = film_pixels(patient)
    _pixels(dataset, stored, spacing_mm, is_inverted=is_inverted)
    return dataset
