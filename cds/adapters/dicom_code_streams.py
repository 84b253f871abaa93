"""What a compressed frame says of its own size, read before a decoder allocates for it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pydicom.encaps import get_frame

if TYPE_CHECKING:
    from pydicom import Dataset

_JPEG_START, _JPEG_2000_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
# SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC); SOF55 is JPEG-LS.
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_START_OF_SCAN = 0xDA
_MAX_SEGMENTS = 1000


def check_code_stream(dataset: Dataset, frame_index: int) -> None:
    """Refuse a frame whose code stream states another size than Rows and Columns.

    A few bytes can promise a picture of 65,535 x 65,535: a decoder believes its code stream, not
    the object that the limits were checked on.

    Raises
    ------
    ValueError
        If the sizes differ, or there is no such frame.

    """
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    stream = get_frame(dataset.PixelData, frame_index, number_of_frames=n_frames)
    size = stated_size(stream)
    if size is not None and size != (int(dataset.Rows), int(dataset.Columns)):
        raise ValueError("the code stream contradicts Rows and Columns")


def stated_size(stream: bytes) -> tuple[int, int] | None:
    """Return rows and columns of a JPEG, JPEG-LS or JPEG 2000 code stream; None if it names none.

    Examples
    --------
    >>> stated_size(bytes.fromhex("ffd8 fff7 000b 08 0030 0028 01 011100"))
    (48, 40)

    """
    if stream.startswith(_JPEG_START):
        return _jpeg_size(stream)
    at = stream.find(_JPEG_2000_START, 0, 1024)  # some wrap it into the boxes of a JP2 file
    if at < 0 or len(stream) < at + 24:
        return None
    x, y, x_offset, y_offset = struct.unpack(">4I", stream[at + 8 : at + 24])
    return y - y_offset, x - x_offset


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    at = len(_JPEG_START)
    for _ in range(_MAX_SEGMENTS):
        if len(stream) < at + 9 or stream[at] != 0xFF:
            return None
        marker = stream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _FRAME_MARKERS:
            rows, columns = struct.unpack(">2H", stream[at + 5 : at + 9])
            return (rows, columns) if rows and columns else None  # 0 rows: a later segment says
        if marker == _START_OF_SCAN:
            return None
        at += 2 + int(struct.unpack(">H", stream[at + 2 : at + 4])[0])
    return None
