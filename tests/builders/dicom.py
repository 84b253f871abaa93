"""DICOM objects and pictures, valid by default; one override per test."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

STUDY_INSTANCE_UID = "1.2.826.0.1.3680043.10.543.1"
SERIES_INSTANCE_UID = "1.2.826.0.1.3680043.10.543.1.1"
SOP_INSTANCE_UID = "1.2.826.0.1.3680043.10.543.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"


def a_ramp(rows: int = 12, columns: int = 16, bits: int = 12) -> NDArray[np.uint16]:
    """Stored values from 0 to full, rising along rows and columns."""
    full = 2**bits - 1
    return np.linspace(0, full, rows * columns).round().astype(np.uint16).reshape(rows, columns)


def a_dataset(stored: NDArray[Any] | None = None, **overrides: Any) -> Dataset:
    """A chest film of P100; `stored` has shape (rows, columns) or (n, rows, columns)."""
    pixels = a_ramp() if stored is None else stored
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = UID(DX_FOR_PRESENTATION)
    ds.SOPInstanceUID = SOP_INSTANCE_UID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY_INSTANCE_UID, SERIES_INSTANCE_UID
    ds.PatientID, ds.IssuerOfPatientID = "P100", "HOSPITAL-A"
    ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "Test^Person", "19590314", "F"
    ds.AccessionNumber, ds.StudyDate, ds.StudyTime = "A-1", "20260105", "064100"
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "DX", "CHEST", "PA"
    ds.ImagerPixelSpacing = [0.2, 0.2]
    ds.InstanceNumber = 1
    is_signed = pixels.dtype.kind == "i"
    ds.Rows, ds.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        ds.NumberOfFrames = pixels.shape[0]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored = 12 if ds.BitsAllocated == 16 and not is_signed else ds.BitsAllocated
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(is_signed)
    ds.PixelData = pixels.tobytes()
    for keyword, value in overrides.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.HighBit = ds.BitsStored - 1
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def dicom_bytes(dataset: Dataset) -> bytes:
    """The object as a PS3.10 file."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def a_dicom_instance(stored: NDArray[Any] | None = None, **overrides: Any) -> bytes:
    """The bytes of `a_dataset`."""
    return dicom_bytes(a_dataset(stored, **overrides))


def a_picture_file(
    samples: NDArray[Any] | None = None, *, kind: str = "PNG", **options: Any
) -> bytes:
    """A PNG or JPEG file of the samples."""
    pixels = (a_ramp(bits=8)).astype(np.uint8) if samples is None else samples
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, **options)
    return buffer.getvalue()
