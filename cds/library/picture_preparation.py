"""A decoded picture -> what the library keeps: an 8-bit grey PNG of bounded size, and its hash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cds.domain.case import CasePicture, ViewGroup
from cds.domain.errors import CdsError, Reason
from cds.domain.perceptual_hash import perceptual_hash
from cds.domain.picture_copy import GreyThumbnail, inner_hashes, thumbnail
from cds.domain.pixels import PixelFrame
from cds.library.grey_png import grey_png
from cds.library.source_case import SourcePicture
from cds.ports import BlobStore

Float32Array = NDArray[np.float32]
GreyPicture = NDArray[np.uint8]
PictureReader = Callable[[bytes], tuple[PixelFrame, ...]]

LONG_SIDE_PX = 1024
MAX_FILE_BYTES = 256 * 1024**2
WHITE_8_BIT = 255.0
BURNED_IN = "the picture says that it holds burned-in text"
BURNED_IN_UNSURE = "pictures of this modality often hold burned-in text, and it does not deny it"
EMPTY = "the file is empty"
TOO_LARGE = "the file is larger than the limit"
FLAT = "the picture is one flat tone"
UNSURE_MODALITIES = frozenset({"ES", "OT", "SC", "US", "XC"})  # screens and cameras


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PreparedPicture:
    """A picture that is in the blob store, with what its file said.

    Attributes
    ----------
    grey
        The kept pixels.
    vector
        Shape ``(d,)``, float32, unit norm; None leaves it to a later run.

    """

    picture: CasePicture
    content_sha256: str
    frame: PixelFrame
    grey: GreyPicture
    vector: Float32Array | None = None

    def __repr__(self) -> str:
        return "PreparedPicture(<redacted>)"


def read_frame(content: bytes, reader: PictureReader) -> PixelFrame:
    """Decode a file and refuse what may not enter a library.

    Parameters
    ----------
    content
        A whole file; untrusted. Only its pixels are kept: no header of it is stored.
    reader
        Decodes DICOM, JPEG and PNG.

    Raises
    ------
    CdsError
        IMAGE_UNREADABLE or IMAGE_UNSUPPORTED, with a sentence that serves as the reason of the
        quarantine; burned-in text that is present or not ruled out is IMAGE_UNSUPPORTED.

    """
    if not content:
        raise CdsError(Reason.IMAGE_UNREADABLE, EMPTY)
    frame = reader(content)[0]
    if frame.modality is not None or frame.sop_instance_uid is not None:
        _refuse_burned_in_text(frame)
    if frame.pixels.size == 0 or float(frame.pixels.max()) == float(frame.pixels.min()):
        raise CdsError(Reason.IMAGE_UNSUPPORTED, FLAT)
    return frame


def prepare(
    content_sha256: str,
    frame: PixelFrame,
    source: SourcePicture,
    *,
    blobs: BlobStore,
    picture_id: str,
    check_pixels: Callable[[GreyPicture], None],
) -> PreparedPicture:
    """Store the picture's pixels and return what the catalogue keeps of it.

    Parameters
    ----------
    content_sha256
        Of the source file, in hexadecimal.
    frame
        What was decoded from it.
    source
        What the table says; its view comes before the file's own.
    blobs
        Where the PNG goes.
    picture_id
        Opaque.
    check_pixels
        Sees the picture as it will be kept, before it is; raises what it refuses.

    """
    view = source.view_position or frame.view_position
    grey = grey_picture(frame)
    check_pixels(grey)
    kept = kept_frame(grey).pixels
    picture = CasePicture(
        picture_id=picture_id,
        blob_key=blobs.put(grey_png(grey)),
        rows=grey.shape[0],
        columns=grey.shape[1],
        view_group=ViewGroup.from_view_position(view),
        perceptual_hash=perceptual_hash(kept),
        laterality=source.laterality or frame.laterality,
        inner_hashes=inner_hashes(kept),
        slice_place=frame.slice_place or source.slice_place,
    )
    return PreparedPicture(picture, content_sha256, frame, grey)


def to_png(frame: PixelFrame) -> tuple[int, int, bytes]:
    """Return rows, columns and the PNG (8-bit grey, long side at most 1024 px)."""
    grey = grey_picture(frame)
    return grey.shape[0], grey.shape[1], grey_png(grey)


def grey_picture(frame: PixelFrame) -> GreyPicture:
    """Return the pixels that are kept: shape ``(rows, columns)``, uint8, long side <= 1024 px."""
    grey = np.round(frame.pixels * WHITE_8_BIT).astype(np.uint8)
    if max(grey.shape) <= LONG_SIDE_PX:
        return grey
    image = Image.fromarray(grey)
    image.thumbnail((LONG_SIDE_PX, LONG_SIDE_PX), Image.Resampling.LANCZOS)
    return np.asarray(image)


def kept_frame(grey: GreyPicture, *, content_sha256: str = "") -> PixelFrame:
    """Return the frame of kept pixels, exactly as `from_png` returns it."""
    pixels = grey.astype(np.float32) / np.float32(WHITE_8_BIT)
    return PixelFrame(pixels=pixels, content_sha256=content_sha256)


def from_png(png: bytes, *, content_sha256: str = "") -> PixelFrame:
    """Return the frame of a picture that `to_png` made; only for bytes of the blob store."""
    with Image.open(BytesIO(png), formats=("PNG",)) as image:
        return kept_frame(np.asarray(image.convert("L")), content_sha256=content_sha256)


def kept_thumbnail(blobs: BlobStore, picture: CasePicture) -> GreyThumbnail | None:
    """Return the thumbnail of a kept picture, None if its bytes are gone."""
    try:
        return thumbnail(from_png(blobs.get(picture.blob_key)).pixels)
    except CdsError:
        return None


def _refuse_burned_in_text(frame: PixelFrame) -> None:
    """Apply BurnedInAnnotation (0028,0301) and the modalities that need it (R-HIP-2)."""
    if frame.burned_in_annotation == "YES":
        raise CdsError(Reason.IMAGE_UNSUPPORTED, BURNED_IN)
    if frame.burned_in_annotation != "NO" and (frame.modality or "") in UNSURE_MODALITIES:
        raise CdsError(Reason.IMAGE_UNSUPPORTED, BURNED_IN_UNSURE)
