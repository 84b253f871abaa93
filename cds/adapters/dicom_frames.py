"""Which frames of a multi-frame DICOM object are compared (PS3.3 C.7.6.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.adapters.dicom_pixels import frame_group
from cds.domain.key_slices import SLICED, SlicePlace, SliceRecord, key_slices

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_STACK_FRAMES = 20_000  # more is a lie or a film of time; its middle frame is taken
FramePlace = tuple[int, SlicePlace | None]  # 0-based frame index, and its place in the stack


def compared_frames(dataset: Dataset, n_frames: int) -> tuple[FramePlace, ...]:
    """Return the frames to decode, the key frame first.

    Parameters
    ----------
    dataset
        The object, parsed.
    n_frames
        How many frames it holds; checked against the limits already.

    Returns
    -------
    tuple
        The key slices of a stack of CT or MR slices; else, and of more than 20,000 frames, the
        middle frame without a place.

    """
    modality = str(dataset.get("Modality") or "").strip().upper()
    if n_frames == 1 or modality not in SLICED or n_frames > MAX_STACK_FRAMES:
        return ((n_frames // 2, None),)
    records = [
        SliceRecord(
            str(index),
            index + 1,
            _numbers(dataset, "PlanePositionSequence", "ImagePositionPatient", index),
            _numbers(dataset, "PlaneOrientationSequence", "ImageOrientationPatient", index),
        )
        for index in range(n_frames)
    ]
    return tuple((int(chosen.key), chosen.place) for chosen in key_slices(records))


def _numbers(
    dataset: Dataset, sequence: str, keyword: str, frame_index: int
) -> tuple[float, ...] | None:
    group = frame_group(dataset, sequence, frame_index)
    value = group.get(keyword) if group is not None else None
    return tuple(float(v) for v in value) if value else None
