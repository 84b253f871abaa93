"""Picture bytes -> frames: DICOM objects, JPEG and PNG files; decoded in a process of their own."""

from __future__ import annotations

from hashlib import sha256

from cds.adapters.decode_process import SHARED_PROCESS
from cds.adapters.dicom_decoding import DEFAULT_LIMITS, DecodeLimits, decoded_frames
from cds.adapters.picture_decoding import decoded_picture
from cds.domain.pixels import PixelFrame


def start_decoding_process() -> None:
    """Start the decoding process in the background; call it when a server starts."""
    SHARED_PROCESS.start()


def frames_from_dicom(
    content: bytes,
    *,
    limits: DecodeLimits = DEFAULT_LIMITS,
    timeout_s: float | None = None,
    isolate: bool = True,
) -> tuple[PixelFrame, ...]:
    """Read the frames to compare from a DICOM object.

    Modality LUT, VOI LUT or window, MONOCHROME1 and padding are applied; colour becomes luminance;
    of several frames the middle one is taken and `n_frames` says how many there were; of a stack of
    CT or MR slices the key slices are (see `cds.domain.key_slices`).

    Parameters
    ----------
    content
        A whole DICOM object (PS3.10); untrusted.
    limits
        Checked before anything is decoded.
    timeout_s
        What the caller has left; None means only the limit counts.
    isolate
        False decodes in this process: for tests of the arithmetic only.

    Returns
    -------
    tuple of PixelFrame
        One frame, or the key slices of a stack, the middle one first.

    Raises
    ------
    CdsError
        IMAGE_UNREADABLE if this is no DICOM object, is damaged, too large or too slow;
        IMAGE_UNSUPPORTED if it holds no picture, a result of ours, or a form that is not supported;
        DEADLINE if the caller's time is up.

    """
    if isolate:
        frames = SHARED_PROCESS.decode("dicom", content, limits, timeout_s=timeout_s)
    else:
        frames = decoded_frames(content, limits)
    digest = sha256(content).hexdigest()
    return tuple(frame.to_pixel_frame(digest) for frame in frames)


def frames_from_picture(
    content: bytes,
    *,
    limits: DecodeLimits = DEFAULT_LIMITS,
    timeout_s: float | None = None,
    isolate: bool = True,
) -> tuple[PixelFrame, ...]:
    """Read a JPEG or PNG file, 8 or 16 bit.

    Parameters
    ----------
    content
        A whole file; untrusted.
    limits, timeout_s, isolate
        As for `frames_from_dicom`.

    Returns
    -------
    tuple of PixelFrame
        One frame; EXIF orientation applied, transparency over black, colour as luminance.

    Raises
    ------
    CdsError
        IMAGE_UNSUPPORTED if this is neither JPEG nor PNG; IMAGE_UNREADABLE if it is damaged, too
        large or too slow; DEADLINE if the caller's time is up.

    """
    if isolate:
        (frame,) = SHARED_PROCESS.decode("picture", content, limits, timeout_s=timeout_s)
    else:
        frame = decoded_picture(content, limits)
    return (frame.to_pixel_frame(sha256(content).hexdigest()),)


def frames_from_file(
    content: bytes,
    *,
    limits: DecodeLimits = DEFAULT_LIMITS,
    timeout_s: float | None = None,
    isolate: bool = True,
) -> tuple[PixelFrame, ...]:
    """Read a picture of either kind, told apart by its first bytes, never by its name.

    Parameters
    ----------
    content
        A whole file; untrusted.
    limits, timeout_s, isolate
        As for `frames_from_dicom`.

    Returns
    -------
    tuple of PixelFrame
        As `frames_from_dicom`.

    Raises
    ------
    CdsError
        As `frames_from_dicom` and `frames_from_picture`.

    """
    is_picture = content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n"))
    read = frames_from_picture if is_picture else frames_from_dicom
    return read(content, limits=limits, timeout_s=timeout_s, isolate=isolate)
