"""Decoders for the compressed transfer syntaxes that pydicom with Pillow alone cannot read."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

PLUGIN = "imagecodecs"

_JPEG_2000 = (
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
)
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_DCT = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
TRANSFER_SYNTAXES = (*_JPEG_2000, *_JPEG_LS, *_JPEG_LOSSLESS, *_JPEG_DCT)

# pydicom asks each plugin module for this name.
DECODER_DEPENDENCIES = dict.fromkeys(TRANSFER_SYNTAXES, ("imagecodecs",))


def is_available(transfer_syntax_uid: str) -> bool:
    """Tell pydicom that this plugin can decode a transfer syntax."""
    return transfer_syntax_uid in TRANSFER_SYNTAXES


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """Decode one compressed frame for pydicom.

    Parameters
    ----------
    src
        The frame's code stream.
    runner
        pydicom's description of the frame.

    Returns
    -------
    bytes
        Little-endian samples, interleaved by pixel, in the allocated size that `runner` expects.

    Raises
    ------
    ValueError
        If the decoded samples do not fit Bits Allocated (0028,0100), or the frame is a colour JPEG:
        pydicom goes on to Pillow, which leaves YCbCr to be converted once, as the object says.

    """
    samples = _decoded(src, runner)
    if runner.photometric_interpretation in {"YBR_ICT", "YBR_RCT"}:
        runner.set_option("photometric_interpretation", "RGB")  # the codec has undone it
    is_signed = runner.pixel_representation == 1
    if is_signed and samples.dtype.kind == "u":
        samples = sign_extended(samples, runner.bits_stored)
    kind = "i" if is_signed else "u"
    wanted = np.dtype(f"<{kind}{max(1, runner.bits_allocated // 8)}")
    bounds = np.iinfo(wanted)
    if samples.size and (samples.min() < bounds.min or samples.max() > bounds.max):
        raise ValueError("the decoded samples do not fit Bits Allocated")
    return np.ascontiguousarray(samples, dtype=wanted).tobytes()


def sign_extended(samples: np.ndarray[Any, Any], bits_stored: int) -> np.ndarray[Any, Any]:
    """Read the low `bits_stored` bits of unsigned samples as two's complement.

    Examples
    --------
    >>> sign_extended(np.array([0, 2047, 4095], dtype=np.uint16), 12)
    array([   0, 2047,   -1])

    """
    wide = samples.astype(np.int64) & ((1 << bits_stored) - 1)
    return wide - ((wide >> (bits_stored - 1)) << bits_stored)


def _decoded(src: bytes, runner: DecodeRunner) -> np.ndarray[Any, Any]:
    syntax = runner.transfer_syntax
    if syntax in _JPEG_2000:
        return np.asarray(imagecodecs.jpeg2k_decode(src))
    if syntax in _JPEG_LS:
        return np.asarray(imagecodecs.jpegls_decode(src))
    if syntax in _JPEG_LOSSLESS:
        return np.asarray(imagecodecs.ljpeg_decode(src))
    if runner.samples_per_pixel > 1:
        raise ValueError("colour JPEG is left to Pillow")
    return np.asarray(imagecodecs.jpeg8_decode(src))


@cache
def register() -> None:
    """Add the plugin to pydicom's decoders, once per process."""
    for syntax in TRANSFER_SYNTAXES:
        get_decoder(syntax).add_plugin(PLUGIN, (__name__, "decode_frame"))
