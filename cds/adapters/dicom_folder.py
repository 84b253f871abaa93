"""Pictures of a study from a folder of DICOM files, by the same rules as over DICOMweb."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom import Dataset

from cds.adapters.dicom_decoding import BROKEN
from cds.adapters.dicom_files import frames_from_dicom
from cds.domain.errors import CdsError, Reason
from cds.domain.instance_selection import (
    InstanceRecord,
    SeriesRecord,
    frontal_first,
    placed,
    wanted_instances,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cds.adapters.dicomweb_service import FrameDecoder
    from cds.domain.key_slices import SlicePlace
    from cds.domain.pixels import PixelFrame
    from cds.domain.study import StudyRef
    from cds.ports import Deadline, FhirAccess

_HEADER_TAGS = [
    "PatientID",
    "AccessionNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "Modality",
    "SeriesDescription",
    "SeriesNumber",
    "InstanceNumber",
    "ViewPosition",
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "NumberOfFrames",
]


@dataclass(frozen=True, slots=True)
class _Stored:
    path: Path
    header: Dataset

    def text(self, keyword: str) -> str | None:
        return str(self.header.get(keyword) or "").strip() or None

    def number(self, keyword: str) -> int | None:
        value = self.header.get(keyword)
        return None if value is None else int(value)

    def numbers(self, keyword: str) -> tuple[float, ...] | None:
        value = self.header.get(keyword)
        return tuple(float(v) for v in value) if value else None


class DicomFolderSource:
    """A `cds.ports.ImageSource` over a folder, for one machine without a PACS.

    Parameters
    ----------
    folder
        Searched through all its levels, at each call.
    decode
        Bytes of an instance -> frames.

    """

    def __init__(self, folder: Path, *, decode: FrameDecoder = frames_from_dicom) -> None:
        self._folder = folder
        self._decode = decode

    def retrieve_frames(
        self,
        access: FhirAccess,
        study: StudyRef,
        *,
        patient_id_value: str | None,
        deadline: Deadline,
    ) -> tuple[PixelFrame, ...]:
        """Return the frames to compare, key frame first.

        Parameters
        ----------
        access
            Not needed here: a folder has no accounts.
        study
            Found by UID, else by accession number.
        patient_id_value
            Narrows a search by accession number.
        deadline
            Bounds the decoding.

        Raises
        ------
        CdsError
            NO_IMAGING, IMAGE_UNREADABLE, IMAGE_UNSUPPORTED or DEADLINE.

        """
        del access
        stored = _of_study(self._stored(), study, patient_id_value)
        frames: list[PixelFrame] = []
        refusals: list[CdsError] = []
        for one, place in _chosen(stored, study.modality):
            try:
                decoded = self._decode(one.path.read_bytes(), timeout_s=deadline.remaining_s())
                frames.extend(placed(decoded, place))
            except CdsError as error:
                if error.reason is Reason.DEADLINE:
                    raise
                refusals.append(error)
        if not frames:
            raise refusals[0]
        return frontal_first(frames)

    def _stored(self) -> Iterable[_Stored]:
        for path in sorted(p for p in self._folder.rglob("*") if p.is_file()):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    header = pydicom.dcmread(
                        path, specific_tags=_HEADER_TAGS, stop_before_pixels=True
                    )
                except BROKEN:
                    continue  # no DICOM object
                yield _Stored(path, header)


def _of_study(
    stored: Iterable[_Stored], study: StudyRef, patient_id_value: str | None
) -> tuple[_Stored, ...]:
    if study.study_instance_uid is not None:
        found = [s for s in stored if s.text("StudyInstanceUID") == study.study_instance_uid]
    else:
        found = [
            s
            for s in stored
            if s.text("AccessionNumber") == study.accession_number
            and (patient_id_value is None or s.text("PatientID") == patient_id_value)
        ]
    if len({s.text("StudyInstanceUID") for s in found}) > 1:
        raise CdsError(
            Reason.NO_IMAGING, "More than one study has this accession number; none was taken."
        )
    if not found:
        raise CdsError(Reason.NO_IMAGING, "The folder has no pictures of this study.")
    return tuple(found)


def _chosen(
    stored: Sequence[_Stored], modality: str | None
) -> tuple[tuple[_Stored, SlicePlace | None], ...]:
    by_series: dict[str, dict[str, _Stored]] = {}
    for one in stored:
        of_series = by_series.setdefault(one.text("SeriesInstanceUID") or "", {})
        of_series[one.text("SOPInstanceUID") or ""] = one
    chosen = wanted_instances(
        [_series(uid, list(found.values())) for uid, found in by_series.items()],
        modality,
        lambda series: [
            _instance(uid, one) for uid, one in by_series[series.series_instance_uid].items()
        ],
    )
    if not chosen:
        raise CdsError(Reason.IMAGE_UNSUPPORTED, "The study holds no picture of a supported kind.")
    return tuple(
        (by_series[record.series_instance_uid][record.sop_instance_uid], record.place)
        for record in chosen
    )


def _series(uid: str, stored: Sequence[_Stored]) -> SeriesRecord:
    first = stored[0]
    return SeriesRecord(
        series_instance_uid=uid,
        modality=first.text("Modality"),
        description=first.text("SeriesDescription"),
        series_number=first.number("SeriesNumber"),
        n_instances=len(stored),
    )


def _instance(uid: str, stored: _Stored) -> InstanceRecord:
    return InstanceRecord(
        series_instance_uid=stored.text("SeriesInstanceUID") or "",
        sop_instance_uid=uid,
        sop_class_uid=stored.text("SOPClassUID"),
        instance_number=stored.number("InstanceNumber"),
        view_position=stored.text("ViewPosition"),
        image_type=tuple(str(v).upper() for v in stored.header.get("ImageType") or ()),
        position=stored.numbers("ImagePositionPatient"),
        orientation=stored.numbers("ImageOrientationPatient"),
        n_frames=stored.number("NumberOfFrames"),
    )
