"""A folder of DICOM files, at any depth and in any order: one case per study."""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from cds.domain.deflated_dicom import deflated_from
from cds.domain.instance_selection import (
    FILMS,
    InstanceRecord,
    SeriesRecord,
    wanted_instances,
)
from cds.domain.key_slices import SLICED
from cds.library.source_case import NOT_DATED, RejectedRow, SourceCase, SourcePicture, SourceRow

FORMAT = "dicom-folder"
NOT_DICOM = "the file is not a DICOM object"
NO_STUDY = "the object names no study"
NOT_COMPARED = "the object is neither a radiograph nor a slice of CT or MR"
NOTHING_TO_COMPARE = "the study holds planning views or computed pictures only"
COMPARED = FILMS | SLICED
HEADER_TAGS = [
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Modality", "BodyPartExamined"),
    *("StudyDate", "StudyTime", "TimezoneOffsetFromUTC", "PatientAge", "PatientBirthDate"),
    *("PatientSex", "ViewPosition", "InstanceNumber", "SeriesDescription", "SeriesNumber"),
    *("SOPClassUID", "ImageType", "ImagePositionPatient", "ImageOrientationPatient"),
    "NumberOfFrames",
]
HEADER_BYTES = 1024 * 1024
LAST_TAG = 0x00280008  # Number of Frames; elements stand in the order of their tags
MAX_AGE_YEARS = 120
_MAGIC_AT = 128
# What pydicom raises on a header that breaks the Standard.
_BROKEN = (
    *(InvalidDicomError, BytesLengthException, AttributeError, EOFError, LookupError, MemoryError),
    *(ArithmeticError, OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error),
)
_AGE = re.compile(r"^(\d{3})([DWMY])$")
_ZONE = re.compile(r"^([+-])(\d{2})(\d{2})$")
_MONTHS_PER_YEAR, _WEEKS_PER_YEAR, _DAYS_PER_YEAR = 12, 52.18, 365.25


@dataclass(frozen=True, slots=True, repr=False)
class _Header:
    name: str
    file: Path
    study_instance_uid: str
    modality: str
    body_part: str | None
    started_at: datetime | None
    age_years: int | None
    sex: str
    series: SeriesRecord
    instance: InstanceRecord


def is_dicom_folder(folder: Path) -> bool:
    """Tell whether the first file that is found below a folder is a DICOM object."""
    first = next((path for path in sorted(folder.rglob("*")) if path.is_file()), None)
    return first is not None and _has_magic(first)


def read_dicom_tree(
    folder: Path, *, collection: str, licence: str = "", is_reference: bool = False
) -> Iterator[SourceRow]:
    """Read the radiographs, CT and MR below a folder, one case per study.

    A DICOM folder knows the picture, its patient and its time, and nothing of what was found or
    what became of the patient. The patient is the one that the picture itself names.

    Parameters
    ----------
    folder
        Read at any depth.
    collection, licence
        Of all pictures.
    is_reference
        True for a collection whose dates are not true: no time is taken from the headers.

    """
    studies: dict[str, list[_Header]] = defaultdict(list)
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
        name = path.relative_to(folder).as_posix()
        header = _header(name, path)
        if isinstance(header, str):
            yield RejectedRow(name, header)
        elif header.modality not in COMPARED:
            yield RejectedRow(name, NOT_COMPARED)
        else:
            studies[header.study_instance_uid].append(header)
    for headers in studies.values():
        chosen = _wanted(headers)
        if not chosen:
            yield RejectedRow(headers[0].name, NOTHING_TO_COMPARE)
            continue
        yield _case(chosen, collection, licence, is_reference=is_reference)


def _wanted(headers: list[_Header]) -> list[_Header]:
    """Return the files of a study to compare: two films at most, or the key slices of a series.

    The rule is that of queries (`cds.domain.instance_selection`).
    """
    by_series: dict[str, list[_Header]] = defaultdict(list)
    for header in headers:
        by_series[header.series.series_instance_uid].append(header)
    series = [
        replace(members[0].series, n_instances=len(members)) for members in by_series.values()
    ]
    chosen = wanted_instances(
        series,
        headers[0].modality,
        lambda one: [header.instance for header in by_series[one.series_instance_uid]],
    )
    by_uid = {header.instance.sop_instance_uid: header for header in headers}
    return [replace(by_uid[one.sop_instance_uid], instance=one) for one in chosen]


def _case(
    headers: list[_Header], collection: str, licence: str, *, is_reference: bool
) -> SourceRow:
    first = headers[0]
    if first.started_at is None and not is_reference:
        return RejectedRow(first.name, NOT_DATED)
    return SourceCase(
        row_name=first.name,
        collection=collection,
        study_name=first.study_instance_uid,
        study_instance_uid=first.study_instance_uid,
        patient_namespace=collection,
        patient_value=None,
        pictures=tuple(
            SourcePicture(h.name, h.file, h.instance.view_position, slice_place=h.instance.place)
            for h in headers
        ),
        modality=first.modality,
        body_part=first.body_part,
        view_position=first.instance.view_position,
        age_years=first.age_years,
        sex=first.sex,
        known_at=None if is_reference else first.started_at,
        is_reference=is_reference,
        film_year=first.started_at.year if first.started_at and not is_reference else None,
        licence=licence,
    )


def _header(name: str, path: Path) -> _Header | str:
    """Return what the header says, or why it cannot be used; pixels are not touched here."""
    if not _has_magic(path):
        return NOT_DICOM
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        try:
            return _read(name, path, _dataset(path))
        except _BROKEN:
            return NOT_DICOM


def _dataset(path: Path) -> pydicom.Dataset:
    """Return the header; of a deflated object only so much is inflated as it can reach."""
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    deflated_at = deflated_from(head)
    if deflated_at is None:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=HEADER_TAGS)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = BytesIO(inflater.decompress(head[deflated_at:], HEADER_BYTES))
    return read_dataset(
        inflated,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: int(tag) > LAST_TAG,
        specific_tags=[Tag(keyword) for keyword in HEADER_TAGS],
    )


def _read(name: str, path: Path, dataset: pydicom.Dataset) -> _Header | str:
    uid = _text(dataset, "StudyInstanceUID")
    if not uid:
        return NO_STUDY
    started_at = _started_at(dataset)
    return _Header(
        name=name,
        file=path,
        study_instance_uid=uid,
        modality=_text(dataset, "Modality"),
        body_part=_text(dataset, "BodyPartExamined") or None,
        started_at=started_at,
        age_years=_age_years(dataset, started_at),
        sex={"M": "male", "F": "female", "O": "other"}.get(_text(dataset, "PatientSex"), "unknown"),
        series=SeriesRecord(
            _text(dataset, "SeriesInstanceUID"),
            _text(dataset, "Modality"),
            _text(dataset, "SeriesDescription") or None,
            _number(dataset, "SeriesNumber"),
        ),
        instance=_instance(dataset),
    )


def _instance(dataset: pydicom.Dataset) -> InstanceRecord:
    return InstanceRecord(
        series_instance_uid=_text(dataset, "SeriesInstanceUID"),
        sop_instance_uid=_text(dataset, "SOPInstanceUID"),
        sop_class_uid=_text(dataset, "SOPClassUID") or None,
        instance_number=_number(dataset, "InstanceNumber"),
        view_position=_text(dataset, "ViewPosition") or None,
        image_type=tuple(str(value) for value in dataset.get("ImageType") or ()),
        position=_vector(dataset, "ImagePositionPatient"),
        orientation=_vector(dataset, "ImageOrientationPatient"),
        n_frames=_number(dataset, "NumberOfFrames"),
    )


def _vector(dataset: pydicom.Dataset, keyword: str) -> tuple[float, ...] | None:
    values = dataset.get(keyword)
    return tuple(float(value) for value in values) if values else None


def _number(dataset: pydicom.Dataset, keyword: str) -> int | None:
    text = _text(dataset, keyword)
    return int(text) if text else None


def _started_at(dataset: pydicom.Dataset) -> datetime | None:
    """Return Study Date and Time; without a stated offset from UTC they are read as UTC."""
    date_text, time_text = _text(dataset, "StudyDate"), _text(dataset, "StudyTime")
    digits = (time_text.split(".")[0] + "000000")[:6]
    zone: Any = UTC
    match = _ZONE.match(_text(dataset, "TimezoneOffsetFromUTC"))
    if match is not None:
        offset = timedelta(hours=int(match.group(2)), minutes=int(match.group(3)))
        zone = timezone(-offset if match.group(1) == "-" else offset)
    try:
        moment = datetime.strptime(date_text + digits, "%Y%m%d%H%M%S").replace(tzinfo=zone)
    except ValueError:
        return None
    return moment.astimezone(UTC)


def _age_years(dataset: pydicom.Dataset, started_at: datetime | None) -> int | None:
    match = _AGE.match(_text(dataset, "PatientAge"))
    if match is not None:
        per_year = {"Y": 1, "M": _MONTHS_PER_YEAR, "W": _WEEKS_PER_YEAR, "D": _DAYS_PER_YEAR}
        years = int(int(match.group(1)) / per_year[match.group(2)])
    elif started_at is not None and len(born := _text(dataset, "PatientBirthDate")) == len(
        "YYYYMMDD"
    ):
        on = (started_at.year, f"{started_at:%m%d}")
        years = on[0] - int(born[:4]) - (on[1] < born[4:])
    else:
        return None
    return years if 0 <= years <= MAX_AGE_YEARS else None


def _text(dataset: pydicom.Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def _has_magic(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            stream.seek(_MAGIC_AT)
            return stream.read(4) == b"DICM"
    except OSError:
        return False
