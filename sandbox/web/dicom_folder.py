"""The sandbox's PACS: a folder ``<Study Instance UID>/<SOP Instance UID>.dcm``, indexed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

_UNKNOWN_TRANSFER_SYNTAX = "1.2.840.10008.1.2.1"  # Explicit VR Little Endian


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One file of the PACS with what its header says; pixels stay on disk.

    Attributes
    ----------
    header
        Without pixel data; of a file that is no DICOM it holds only the UIDs of its place.

    """

    path: Path
    header: Dataset
    transfer_syntax_uid: str

    @property
    def study_instance_uid(self) -> str:
        """Return the study that the file lies under."""
        return self.path.parent.name

    @property
    def series_instance_uid(self) -> str:
        """Return the series."""
        return str(self.header.SeriesInstanceUID)

    @property
    def sop_instance_uid(self) -> str:
        """Return the instance that the file is named after."""
        return self.path.stem


class DicomFolder:
    """Every instance under a folder, in the order of its paths."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("*/*.dcm")) if folder.is_dir() else []
        self._instances = tuple(_read(path) for path in paths)

    def instances(
        self,
        study_instance_uid: str | None = None,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> tuple[StoredInstance, ...]:
        """Return the instances under a study, a series, or the one with a UID."""
        return tuple(
            one
            for one in self._instances
            if study_instance_uid in {None, one.study_instance_uid}
            and series_instance_uid in {None, one.series_instance_uid}
            and sop_instance_uid in {None, one.sop_instance_uid}
        )


def _read(path: Path) -> StoredInstance:
    """Index one file; one that cannot be read keeps its place, as in a PACS that took it once."""
    try:
        file_dataset = pydicom.dcmread(path, stop_before_pixels=True)
        header: Dataset = file_dataset
        syntax = str(file_dataset.file_meta.get("TransferSyntaxUID", _UNKNOWN_TRANSFER_SYNTAX))
    except (InvalidDicomError, EOFError, ValueError, AttributeError):
        header, syntax = Dataset(), _UNKNOWN_TRANSFER_SYNTAX
    header.StudyInstanceUID = path.parent.name
    header.SOPInstanceUID = path.stem
    if not header.get("SeriesInstanceUID"):
        header.SeriesInstanceUID = f"{path.parent.name}.1"[:64]
    return StoredInstance(path, header, syntax)
