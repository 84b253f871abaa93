"""One frame of a parsed DICOM object -> its stored values, whichever way they are encoded."""

from __future__ import annotations

import zlib
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array

from cds.adapters.dicom_code_streams import check_code_stream
from cds.adapters.dicom_codecs import TRANSFER_SYNTAXES as CODE_STREAMS
from cds.adapters.dicom_codecs import sign_extended
from cds.adapters.dicom_jpeg2000 import reduced_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

_NATIVE = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
    }
)
_DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"  # PS3.5 A.4.13


def stored_pixels(dataset: Dataset, frame_index: int) -> NDArray[Any]:
    """Decode a frame.

    Parameters
    ----------
    dataset
        A parsed object within the limits; the decoders are registered.
    frame_index
        0-based.

    Returns
    -------
    numpy.ndarray
        Shape ``(rows, columns)`` for grey, ``(rows, columns, 3)`` for colour and palettes; a large
        JPEG 2000 film at a half, a quarter ... of its size. Unused high bits are dropped.

    Raises
    ------
    ValueError
        If the frame contradicts the object; the codecs raise further exceptions of their own.

    """
    if "PixelData" in dataset and dataset.file_meta.TransferSyntaxUID in CODE_STREAMS:
        check_code_stream(dataset, frame_index)
    reduced = reduced_pixels(dataset, frame_index)
    if reduced is not None:
        return reduced
    if dataset.file_meta.TransferSyntaxUID == _DEFLATED_FRAME:
        dataset, frame_index = _one_native_frame(dataset, frame_index), 0
    samples = np.asarray(pixel_array(dataset, index=frame_index))
    if samples.dtype.kind == "f":
        return np.nan_to_num(samples.astype(np.float32))
    photometric = dataset.get("PhotometricInterpretation")
    if photometric == "PALETTE COLOR":
        return np.asarray(apply_color_lut(samples, dataset))
    if samples.ndim == 2 and dataset.file_meta.TransferSyntaxUID in _NATIVE:
        return _without_unused_bits(samples, dataset)
    return samples


def _one_native_frame(dataset: Dataset, frame_index: int) -> Dataset:
    """Return the object with one frame of a deflated-frame object, inflated (PS3.5 A.4.13)."""
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    packed = get_frame(dataset.PixelData, frame_index, number_of_frames=n_frames)
    n_samples = int(dataset.Rows) * int(dataset.Columns) * int(dataset.SamplesPerPixel)
    n_bytes = -(-n_samples * int(dataset.BitsAllocated) // 8)
    frame = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, n_bytes)
    native = copy(dataset)
    native.file_meta = copy(dataset.file_meta)
    native.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    native.NumberOfFrames = 1
    native.PixelData = frame + b"\0" * (len(frame) % 2)
    native["PixelData"].is_undefined_length = False
    return native


def _without_unused_bits(samples: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    """Drop what older devices keep above the High Bit, for example overlay planes."""
    bits_stored, bits_allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    if not 1 < bits_stored < bits_allocated or samples.dtype.kind not in "iu":
        return samples
    if int(dataset.get("PixelRepresentation") or 0) == 1:
        return sign_extended(samples, bits_stored)
    return samples & ((1 << bits_stored) - 1)
