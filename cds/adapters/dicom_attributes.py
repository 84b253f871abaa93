"""What a DICOM object says about itself, as our values and as JSON between processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cds.domain.dates import PartialDate
from cds.domain.key_slices import SlicePlace
from cds.domain.pixels import PictureIdentity, PixelFrame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydicom import Dataset

# Words of a View Code Sequence's meaning, where View Position (0018,5101) is empty.
_VIEW_WORDS = (
    ("postero-anterior", "PA"),
    ("antero-posterior", "AP"),
    ("lateral", "LL"),
)


@dataclass(frozen=True, slots=True, repr=False)
class FrameAttributes:
    """Attributes of one frame in plain JSON types; dates as text."""

    frame_number: int
    n_frames: int
    modality: str | None = None
    body_part: str | None = None
    view_position: str | None = None
    laterality: str | None = None
    sop_instance_uid: str | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    patient_id_value: str | None = None
    issuer: str | None = None
    birth_on: str | None = None
    sex: str | None = None
    study_instance_uid: str | None = None
    accession_number: str | None = None
    slice_place: SlicePlace | None = None

    def __repr__(self) -> str:
        return "FrameAttributes(<redacted>)"

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FrameAttributes:
        """Read what `to_json` wrote.

        Raises
        ------
        TypeError, ValueError
            If a field is unknown, missing or out of range.

        """
        spacing = value.get("pixel_spacing_mm")
        pair = (float(spacing[0]), float(spacing[1])) if spacing else None
        place = value.get("slice_place")
        return cls(
            **{
                **value,
                "pixel_spacing_mm": pair,
                "slice_place": SlicePlace(**place) if place else None,
            }
        )


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """Pixels of shape ``(rows, columns)``, float32 in [0, 1], and what the object says."""

    pixels: NDArray[np.float32]
    attributes: FrameAttributes

    def to_pixel_frame(self, content_sha256: str) -> PixelFrame:
        """Return the domain's value."""
        said = self.attributes
        identity = PictureIdentity(
            patient_id_value=said.patient_id_value,
            issuer=said.issuer,
            birth_on=PartialDate.from_text(said.birth_on) if said.birth_on else None,
            sex=said.sex,
            study_instance_uid=said.study_instance_uid,
            accession_number=said.accession_number,
        )
        return PixelFrame(
            pixels=self.pixels,
            content_sha256=content_sha256,
            modality=said.modality,
            body_part=said.body_part,
            view_position=said.view_position,
            laterality=said.laterality,
            sop_instance_uid=said.sop_instance_uid,
            frame_number=said.frame_number,
            n_frames=said.n_frames,
            identity=identity,
            pixel_spacing_mm=said.pixel_spacing_mm,
            slice_place=said.slice_place,
        )


def attributes_of(
    dataset: Dataset, frame_index: int, n_frames: int, slice_place: SlicePlace | None = None
) -> FrameAttributes:
    """Read the attributes of a frame; an absent or empty element is None."""
    sex = _text(dataset, "PatientSex", upper=True)
    return FrameAttributes(
        frame_number=frame_index + 1,
        n_frames=n_frames,
        modality=_text(dataset, "Modality", upper=True),
        body_part=_text(dataset, "BodyPartExamined", upper=True)
        or _meaning(dataset, "AnatomicRegionSequence"),
        view_position=_text(dataset, "ViewPosition", upper=True) or _view(dataset),
        laterality=_text(dataset, "ImageLaterality", upper=True)
        or _text(dataset, "Laterality", upper=True),
        sop_instance_uid=_text(dataset, "SOPInstanceUID"),
        pixel_spacing_mm=_spacing(dataset),
        patient_id_value=_text(dataset, "PatientID"),
        issuer=_text(dataset, "IssuerOfPatientID"),
        birth_on=_birth_on(dataset),
        sex=sex if sex in {"M", "F", "O"} else None,
        study_instance_uid=_text(dataset, "StudyInstanceUID"),
        accession_number=_text(dataset, "AccessionNumber"),
        slice_place=slice_place,
    )


def _text(dataset: Dataset, keyword: str, *, upper: bool = False) -> str | None:
    value = dataset.get(keyword)
    if value is None:
        return None
    text = str(value).strip().strip("\0").strip()
    return (text.upper() if upper else text) or None


def _meaning(dataset: Dataset, keyword: str) -> str | None:
    items = dataset.get(keyword)
    return _text(items[0], "CodeMeaning", upper=True) if items else None


def _view(dataset: Dataset) -> str | None:
    meaning = (_meaning(dataset, "ViewCodeSequence") or "").lower()
    return next((view for word, view in _VIEW_WORDS if word in meaning), None)


def _birth_on(dataset: Dataset) -> str | None:
    text = (_text(dataset, "PatientBirthDate") or "").replace(".", "")
    try:
        return str(PartialDate.from_dicom(text)) if text else None
    except ValueError:
        return None


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        values = dataset.get(keyword)
        if values is not None and not isinstance(values, str) and len(values) == 2:
            rows_mm, columns_mm = float(values[0]), float(values[1])
            if rows_mm > 0 and columns_mm > 0:
                return rows_mm, columns_mm
    return None
