"""Large JPEG 2000 films at the resolution that is kept: the finest wavelet levels are left out."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels.utils import get_j2k_parameters

from cds.adapters.dicom_codecs import sign_extended

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

# Long side that the library keeps of a picture; the encoder sees less still. The finest levels of a
# larger film would be computed, at four times the cost each, only to be averaged away.
KEPT_SIDE_PX = 1024
# 2000 pixels are halved too: 1000 are nearly as good as 1024, for a quarter of the time.
NEARLY_KEPT = 0.95
JPEG_2000 = frozenset({uid.JPEG2000Lossless, uid.JPEG2000})
_DEEPEST_BITS = 16  # Pillow keeps no more


def reduced_pixels(dataset: Dataset, frame_index: int) -> NDArray[np.int32] | None:
    """Return the stored values of a frame at half, a quarter ... of its resolution.

    Parameters
    ----------
    dataset
        A parsed object; its rows and columns are checked against the limits already.
    frame_index
        0-based.

    Returns
    -------
    numpy.ndarray or None
        Shape ``(ceil(rows / 2**n), ceil(columns / 2**n))``, int32; None where the picture is not
        that large, is in colour, has a padding value that averaging would blur, or its code stream
        has no such level: then it is decoded whole.

    Raises
    ------
    ValueError
        If a value is negative where Pixel Representation says that none is.

    """
    level = reduction_level(int(dataset.Rows), int(dataset.Columns))
    if level == 0 or not _can_be_reduced(dataset):
        return None
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    stream = get_frame(dataset.PixelData, frame_index, number_of_frames=n_frames)
    coded = get_j2k_parameters(stream)
    if not 0 < coded.get("precision", 0) <= _DEEPEST_BITS:
        return None
    with Image.open(BytesIO(stream), formats=("JPEG2000",)) as picture:
        picture.reduce = level  # type: ignore[method-assign, assignment]  # Pillow's own interface
        try:
            shown = np.asarray(picture)
        except OSError:
            return None
    if shown.ndim != 2 or shown.dtype.kind != "u":
        return None
    return _as_stored(shown, dataset, coded["precision"], is_signed=coded["is_signed"])


def reduction_level(rows: int, columns: int) -> int:
    """Return how often the picture may be halved so that what is kept of it is still there.

    Examples
    --------
    >>> [reduction_level(n, n) for n in (1024, 1900, 2000, 2048, 3000, 4096)]
    [0, 0, 1, 1, 1, 2]

    """
    level = 0
    while max(rows, columns) >> (level + 1) >= NEARLY_KEPT * KEPT_SIDE_PX:
        level += 1
    return level


def _can_be_reduced(dataset: Dataset) -> bool:
    return (
        dataset.file_meta.TransferSyntaxUID in JPEG_2000
        and int(dataset.SamplesPerPixel) == 1
        and dataset.PhotometricInterpretation in {"MONOCHROME1", "MONOCHROME2"}
        and dataset.get("PixelPaddingValue") is None
    )


def _as_stored(
    shown: NDArray[Any], dataset: Dataset, precision: int, *, is_signed: bool
) -> NDArray[np.int32]:
    """Undo Pillow: values are shifted up to 8 or 16 bits (12 bits by 16), signed ones offset."""
    values = shown.astype(np.int32) >> (8 * shown.dtype.itemsize - precision)
    if is_signed:
        values -= 1 << (precision - 1)
    is_signed_pixel = int(dataset.get("PixelRepresentation") or 0) == 1
    if is_signed_pixel and not is_signed:
        return sign_extended(values, int(dataset.BitsStored)).astype(np.int32)
    if not is_signed_pixel and values.min() < 0:
        raise ValueError("the decoded samples do not fit Pixel Representation")
    return values
