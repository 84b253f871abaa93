"""Pictures as numbers, after every transform that the Standard asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cds.domain.dates import PartialDate
from cds.domain.key_slices import SlicePlace


@dataclass(frozen=True, slots=True, repr=False)
class PictureIdentity:
    """What the picture itself says about whose it is; each field may be missing.

    Attributes
    ----------
    patient_id_value
        Patient ID (0010,0020), stripped.
    issuer
        Issuer of Patient ID (0010,0021).
    birth_on
        Patient's Birth Date (0010,0030).
    sex
        Patient's Sex (0010,0040) as ``M``, ``F`` or ``O``.
    study_instance_uid, accession_number
        (0020,000D), (0008,0050).

    """

    patient_id_value: str | None = None
    issuer: str | None = None
    birth_on: PartialDate | None = None
    sex: str | None = None
    study_instance_uid: str | None = None
    accession_number: str | None = None

    def __repr__(self) -> str:
        return "PictureIdentity(<redacted>)"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PixelFrame:
    """One frame ready to be looked at or embedded.

    Attributes
    ----------
    pixels
        Shape ``(rows, columns)``, float32 in [0, 1], row 0 at the top; 0 is black. Modality LUT,
        VOI LUT or window, MONOCHROME1 inversion and padding are already applied: air is dark.
    modality
        DICOM Modality (0008,0060), or None for a plain picture file.
    body_part
        Body Part Examined (0018,0015), upper case, or None.
    view_position
        View Position (0018,5101), for example ``PA``, ``AP``, ``LL``; None where not given.
    laterality
        Image Laterality (0020,0062) or Laterality (0020,0060).
    sop_instance_uid
        None for a plain picture file.
    frame_number
        1-based (DICOM).
    n_frames
        How many frames the object had, to be able to say "compared on 1 of n".
    content_sha256
        SHA-256 (hex) of the bytes that were decoded.
    identity
        What the object says about whose it is.
    pixel_spacing_mm
        Row spacing, column spacing in millimetres, or None.
    slice_place
        Which slice of how many this is, where it was chosen from a series or stack of CT or MR.

    """

    pixels: NDArray[np.float32]
    content_sha256: str
    modality: str | None = None
    body_part: str | None = None
    view_position: str | None = None
    laterality: str | None = None
    sop_instance_uid: str | None = None
    frame_number: int = 1
    n_frames: int = 1
    identity: PictureIdentity = PictureIdentity()
    pixel_spacing_mm: tuple[float, float] | None = None
    slice_place: SlicePlace | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.dtype != np.float32:
            raise ValueError("pixels are float32 of shape (rows, columns)")
        if not np.isfinite(self.pixels).all():
            raise ValueError("pixels are finite")
        if self.pixels.size and (self.pixels.min() < 0.0 or self.pixels.max() > 1.0):
            raise ValueError("pixels lie in [0, 1]")

    def __repr__(self) -> str:
        return f"PixelFrame({self.pixels.shape[0]} x {self.pixels.shape[1]}, <redacted>)"
