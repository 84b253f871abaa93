"""QIDO-RS over the folder: which attributes match, and which are returned."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.web.dicom_folder import StoredInstance

# Source: DICOM PS3.18, 10.6.3.3 (attributes returned at each level).
STUDY_KEYWORDS = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDescription",
)
SERIES_KEYWORDS = (
    "Modality",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "BodyPartExamined",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
)
INSTANCE_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "InstanceNumber",
    "Rows",
    "Columns",
    "BitsAllocated",
    "NumberOfFrames",
    "ViewPosition",
)
LEVELS = {
    "studies": STUDY_KEYWORDS,
    "series": STUDY_KEYWORDS + SERIES_KEYWORDS,
    "instances": STUDY_KEYWORDS + SERIES_KEYWORDS + INSTANCE_KEYWORDS,
}
_GROUPED_BY = {
    "studies": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "instances": "SOPInstanceUID",
}
_RESULT_PARAMETERS = frozenset({"limit", "offset", "includefield", "fuzzymatching", "accept"})


class BadQueryError(ValueError):
    """A query that is refused with 400."""


def search(
    instances: Iterable[StoredInstance], level: str, pairs: list[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Return the DICOM JSON of what matches at a level, first ones first.

    Raises
    ------
    BadQueryError
        If a keyword or a limit cannot be read.

    """
    criteria = [(_keyword(n), v) for n, v in pairs if n not in _RESULT_PARAMETERS and v]
    groups: dict[str, list[StoredInstance]] = {}
    for one in instances:
        groups.setdefault(str(one.header.get(_GROUPED_BY[level])), []).append(one)
    found = [group for group in groups.values() if any(_matches(one, criteria) for one in group)]
    first, count = _window(dict(pairs))
    return [_answer(group, level) for group in found[first : first + count]]


def _keyword(name: str) -> str:
    if len(name) == 8 and all(c in "0123456789abcdefABCDEF" for c in name):
        return keyword_for_tag(int(name, 16))
    if tag_for_keyword(name) is None:
        raise BadQueryError(f"{name} is not an attribute that can be searched.")
    return name


def _window(parameters: dict[str, str]) -> tuple[int, int]:
    try:
        return int(parameters.get("offset", "0")), int(parameters.get("limit", "1000"))
    except ValueError:
        raise BadQueryError("limit and offset must be whole numbers.") from None


def _matches(one: StoredInstance, criteria: list[tuple[str, str]]) -> bool:
    return all(_attribute_matches(one.header, keyword, text) for keyword, text in criteria)


def _attribute_matches(header: Dataset, keyword: str, text: str) -> bool:
    found = str(header.get("Modality" if keyword == "ModalitiesInStudy" else keyword, ""))
    if keyword.endswith("Date") and "-" in text:
        low, _, high = text.partition("-")
        return bool(found) and (not low or found >= low) and (not high or found <= high)
    wanted = text.replace("\\", ",").split(",")
    return any(fnmatch.fnmatchcase(found.casefold(), one.casefold()) for one in wanted)


def _answer(group: list[StoredInstance], level: str) -> dict[str, Any]:
    header = group[0].header
    chosen = Dataset()
    for keyword in LEVELS[level]:
        if keyword in header:
            chosen[keyword] = header[keyword]
    if level == "studies":
        chosen.ModalitiesInStudy = sorted({str(one.header.get("Modality", "OT")) for one in group})
        chosen.NumberOfStudyRelatedSeries = len({one.series_instance_uid for one in group})
        chosen.NumberOfStudyRelatedInstances = len(group)
    if level == "series":
        chosen.NumberOfSeriesRelatedInstances = len(group)
    return dict(chosen.to_json_dict())
