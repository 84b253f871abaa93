"""JPEG and PNG bytes -> one grey frame, inside whichever process is called (see decode_process)."""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cds.adapters.dicom_attributes import DecodedFrame, FrameAttributes
from cds.adapters.dicom_decoding import BROKEN, UNREADABLE, DecodeLimits
from cds.adapters.dicom_pixels import luminance
from cds.domain.errors import CdsError, Reason

FORMATS = ("JPEG", "PNG")
TOO_MANY_PIXELS = "The picture has more pixels than the limit."
WHITE_8_BIT = 255.0
WHITE_16_BIT = 65535.0
_GREY_16_BIT = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I"})


def decoded_picture(content: bytes, limits: DecodeLimits) -> DecodedFrame:
    """Decode a JPEG or PNG file.

    Parameters
    ----------
    content
        A whole file; untrusted.
    limits
        Bytes and pixels, checked before anything is decoded.

    Returns
    -------
    DecodedFrame
        EXIF orientation applied, transparency over black, colour as luminance.

    Raises
    ------
    CdsError
        IMAGE_UNSUPPORTED if this is neither JPEG nor PNG; IMAGE_UNREADABLE if it is damaged or
        exceeds the limits.

    """
    if len(content) > limits.max_bytes:
        raise CdsError(
            Reason.IMAGE_UNREADABLE,
            f"The file is larger than {limits.max_bytes // 1024**2} MB.",
        )
    if not content.startswith((b"\xff\xd8", b"\x89PNG\r\n")):
        raise CdsError(
            Reason.IMAGE_UNSUPPORTED, "The file is neither a JPEG nor a PNG picture, nor DICOM."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = _grey(content, limits)
        except Image.DecompressionBombError:
            raise CdsError(Reason.IMAGE_UNREADABLE, TOO_MANY_PIXELS) from None
        except (*BROKEN, SyntaxError) as error:  # Pillow raises SyntaxError on broken PNG chunks
            raise CdsError(Reason.IMAGE_UNREADABLE, UNREADABLE) from error
    return DecodedFrame(pixels, FrameAttributes(frame_number=1, n_frames=1))


def _grey(content: bytes, limits: DecodeLimits) -> NDArray[np.float32]:
    with Image.open(BytesIO(content), formats=FORMATS) as picture:
        columns, rows = picture.size
        if rows * columns > limits.max_frame_px or rows * columns == 0:
            raise CdsError(Reason.IMAGE_UNREADABLE, TOO_MANY_PIXELS)
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in _GREY_16_BIT:
            values = np.asarray(upright, dtype=np.float32) / np.float32(WHITE_16_BIT)
            return np.asarray(np.clip(values, 0.0, 1.0), dtype=np.float32)
        if upright.mode in {"1", "L"} and "transparency" not in upright.info:
            return np.asarray(upright.convert("L"), dtype=np.float32) / np.float32(WHITE_8_BIT)
        return _composed(upright)


def _composed(picture: Image.Image) -> NDArray[np.float32]:
    samples = np.asarray(picture.convert("RGBA"), dtype=np.float32)
    opacity = samples[..., 3] / np.float32(WHITE_8_BIT)
    shown = luminance(samples[..., :3], white=WHITE_8_BIT) * opacity
    return np.asarray(np.clip(shown, 0.0, 1.0), dtype=np.float32)
