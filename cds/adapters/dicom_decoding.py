"""DICOM bytes -> the frame to compare, inside whichever process is called (see decode_process)."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from pydicom import uid
from pydicom.errors import BytesLengthException, InvalidDicomError

from cds.adapters.dicom_attributes import DecodedFrame, FrameAttributes, attributes_of
from cds.adapters.dicom_codecs import register
from cds.adapters.dicom_frames import compared_frames
from cds.adapters.dicom_pixels import luminance, shown_from_stored
from cds.adapters.dicom_stored_pixels import stored_pixels
from cds.domain.deflated_dicom import deflated_from
from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its warnings quote values

PREAMBLE_BYTES = 128
INFLATED_STEP_BYTES = 1024**2  # a bomb is counted piece by piece, never held
OWN_MANUFACTURER = "precedent"  # results of ours are never read back (CLINICAL 3.1)

# Objects with pixel data that are no picture of a patient's body.
NOT_PICTURES = frozenset({"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "KO", "SR", "DOC", "REG"})
# Retired kinds of JPEG whose code streams say themselves how they are to be read.
_RETIRED_JPEG = frozenset({"1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"})
PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
# What pydicom, numpy, zlib and the codecs raise on bytes that break the Standard.
BROKEN = (
    BytesLengthException,
    InvalidDicomError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
UNKNOWN_SYNTAX = "The picture cannot be compared. Its transfer syntax is not supported."
UNREADABLE = "The picture cannot be read: the file is damaged or incomplete."
NOT_DICOM = "The file is not a DICOM object."


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a picture may cost.

    Attributes
    ----------
    max_bytes
        Of the object, and of its inflated form.
    max_frame_px
        Rows x columns; the largest digital films have about 20 million pixels.
    max_volume_px
        Rows x columns x frames; only one frame is decoded.
    memory_bytes
        Address space of the decoding process.
    timeout_s
        For one object, once the decoding process is ready.

    """

    max_bytes: int = 256 * 1024 * 1024
    max_frame_px: int = 50_000_000
    max_volume_px: int = 2_000_000_000
    memory_bytes: int = 4 * 1024**3
    timeout_s: float = 20.0


DEFAULT_LIMITS = DecodeLimits()


def decoded_frame(content: bytes, limits: DecodeLimits) -> DecodedFrame:
    """Decode the key frame of a DICOM object: the first of `decoded_frames`."""
    return decoded_frames(content, limits)[0]


def decoded_frames(content: bytes, limits: DecodeLimits) -> tuple[DecodedFrame, ...]:
    """Decode the frames of a DICOM object that are compared.

    Parameters
    ----------
    content
        A whole DICOM object; untrusted.
    limits
        Checked before anything is decoded.

    Returns
    -------
    tuple of DecodedFrame
        The only one, or the middle one of several; of a stack of CT or MR slices the key slices,
        the middle one first, as far as all of them together stay within `limits.max_frame_px`.

    Raises
    ------
    CdsError
        IMAGE_UNREADABLE if this is no DICOM object, is damaged or exceeds the limits;
        IMAGE_UNSUPPORTED if it holds no picture, or in a form that is not supported.

    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        try:
            return _decoded(content, limits)
        except NotImplementedError as error:
            raise CdsError(Reason.IMAGE_UNSUPPORTED, UNKNOWN_SYNTAX) from error
        except BROKEN as error:
            raise CdsError(Reason.IMAGE_UNREADABLE, UNREADABLE) from error


def _decoded(content: bytes, limits: DecodeLimits) -> tuple[DecodedFrame, ...]:
    dataset = _parsed(content, limits)
    _refuse_what_is_no_picture(dataset)
    n_frames = _checked_frames(dataset, limits)
    register()
    n_affordable = max(1, limits.max_frame_px // (int(dataset.Rows) * int(dataset.Columns)))
    frames = []
    for frame_index, place in compared_frames(dataset, n_frames)[:n_affordable]:
        pixels = _shown(dataset, frame_index)
        attributes = attributes_of(dataset, frame_index, n_frames, place)
        frames.append(DecodedFrame(pixels, _as_shown(attributes, dataset, pixels.shape)))
    return tuple(frames)


def _as_shown(
    attributes: FrameAttributes, dataset: pydicom.Dataset, shape: tuple[int, ...]
) -> FrameAttributes:
    """Return the attributes with the spacing of the pixels that were decoded."""
    spacing = attributes.pixel_spacing_mm
    if spacing is None or shape == (dataset.Rows, dataset.Columns):
        return attributes
    rows_mm, columns_mm = spacing[0] * dataset.Rows, spacing[1] * dataset.Columns
    return replace(attributes, pixel_spacing_mm=(rows_mm / shape[0], columns_mm / shape[1]))


def _shown(dataset: pydicom.Dataset, frame_index: int) -> NDArray[np.float32]:
    stored = stored_pixels(dataset, frame_index)
    if stored.ndim == 2:
        return shown_from_stored(stored, dataset, frame_index)
    if stored.ndim != 3:
        raise _unsupported("Its samples are neither grey nor colour.")
    bits = 8 * stored.dtype.itemsize
    if dataset.PhotometricInterpretation != "PALETTE COLOR":
        bits = int(dataset.BitsStored)
    return luminance(stored, white=2**bits - 1)


def _parsed(content: bytes, limits: DecodeLimits) -> pydicom.Dataset:
    if len(content) > limits.max_bytes:
        raise CdsError(
            Reason.IMAGE_UNREADABLE,
            f"The object is larger than {limits.max_bytes // 1024**2} MB.",
        )
    _refuse_bomb(content, limits)
    has_preamble = content[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM"
    # Older archives leave the preamble out: such a file begins with an element of group 2 or 8.
    if not has_preamble and content[:2] not in {b"\x02\x00", b"\x08\x00", b"\x00\x08"}:
        raise CdsError(Reason.IMAGE_UNREADABLE, NOT_DICOM)
    try:
        dataset = pydicom.dcmread(BytesIO(content), force=not has_preamble)
    except InvalidDicomError as error:
        raise CdsError(Reason.IMAGE_UNREADABLE, NOT_DICOM) from error
    if not len(dataset):
        raise CdsError(Reason.IMAGE_UNREADABLE, NOT_DICOM)
    _complete_transfer_syntax(dataset)
    return dataset


def _complete_transfer_syntax(dataset: pydicom.Dataset) -> None:
    meta = getattr(dataset, "file_meta", None)
    if meta is None:
        dataset.file_meta = meta = pydicom.dataset.FileMetaDataset()
    if "TransferSyntaxUID" in meta:
        if meta.TransferSyntaxUID in _RETIRED_JPEG:
            meta.TransferSyntaxUID = uid.JPEGExtended12Bit
        return
    is_implicit, is_little = dataset.original_encoding
    if not is_little:
        meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    else:
        meta.TransferSyntaxUID = (
            uid.ImplicitVRLittleEndian if is_implicit else uid.ExplicitVRLittleEndian
        )


def _refuse_bomb(content: bytes, limits: DecodeLimits) -> None:
    """Refuse a deflated object that inflates beyond the limit, before pydicom inflates it."""
    try:
        deflated_at = deflated_from(content)
    except ValueError as error:
        raise CdsError(Reason.IMAGE_UNREADABLE, NOT_DICOM) from error
    if deflated_at is None:
        return
    inflater, n_inflated = zlib.decompressobj(-zlib.MAX_WBITS), 0
    for start in range(deflated_at, len(content), INFLATED_STEP_BYTES):
        waiting = content[start : start + INFLATED_STEP_BYTES]
        while waiting and not inflater.eof:
            n_inflated += len(inflater.decompress(waiting, INFLATED_STEP_BYTES))
            if n_inflated > limits.max_bytes:
                raise CdsError(
                    Reason.IMAGE_UNREADABLE, "The object inflates beyond the size limit."
                )
            waiting = inflater.unconsumed_tail


def _refuse_what_is_no_picture(dataset: pydicom.Dataset) -> None:
    if OWN_MANUFACTURER in str(dataset.get("Manufacturer", "")).casefold():
        raise _unsupported("It is a result of this software.")
    if dataset.get("Modality") in NOT_PICTURES:
        raise _unsupported("It is a report, plan, dose or segmentation, no picture of a body.")
    if not any(keyword in dataset for keyword in PIXEL_KEYWORDS):
        raise _unsupported("The object holds no picture.")


def _checked_frames(dataset: pydicom.Dataset, limits: DecodeLimits) -> int:
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    if rows < 1 or columns < 1 or n_frames < 1:
        raise CdsError(Reason.IMAGE_UNREADABLE, UNREADABLE)
    if rows * columns > limits.max_frame_px or rows * columns * n_frames > limits.max_volume_px:
        raise CdsError(Reason.IMAGE_UNREADABLE, "The picture has more pixels than the limit.")
    return n_frames


def _unsupported(why: str) -> CdsError:
    return CdsError(Reason.IMAGE_UNSUPPORTED, f"The picture cannot be compared. {why}")
