"""A small DICOMweb server over objects in memory: QIDO-RS, WADO-RS, an account or a token."""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from tests.fakes.http_server import Asked, Reply

_LEVELS = {
    "studies": (
        "StudyInstanceUID",
        ("PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyDate", "StudyTime"),
    ),
    "series": ("SeriesInstanceUID", ("Modality", "SeriesDescription", "SeriesNumber")),
    "instances": (
        "SOPInstanceUID",
        (
            "SOPClassUID",
            "InstanceNumber",
            "ViewPosition",
            "ImageType",
            "ImagePositionPatient",
            "ImageOrientationPatient",
        ),
    ),
}
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_PATH = re.compile(r"/dicomweb((?:/(?:studies|series|instances)/[\d.]+)*)(?:/(\w+))?")


class DicomwebServer:
    """Answers from its objects; a test may damage, restrict or break it.

    Attributes
    ----------
    authorization
        The Authorization header that is wanted; None lets everyone in.
    status
        Answered to everything, if set.
    no_match_status
        What an empty search gives: 200 with ``[]``, or 204, or 404.
    truncate_to
        Cuts each retrieved object to so many bytes.

    """

    def __init__(self, *contents: bytes) -> None:
        self.contents = list(contents)
        self.authorization: str | None = None
        self.status: int | None = None
        self.no_match_status = 204
        self.ignores_filters = False
        self.truncate_to: int | None = None
        self.answers_with: bytes | None = None

    def __call__(self, asked: Asked) -> Reply:
        if self.status is not None:
            return Reply(self.status)
        wanted = self.authorization
        if wanted is not None and asked.headers.get("authorization") != wanted:
            return Reply(401)
        match = _PATH.fullmatch(asked.path)
        if match is None:
            return Reply(404)
        uids = re.findall(r"/[\d.]+", match[1])
        found = [
            (content, header)
            for content, header in self._stored()
            if all(str(header.get(k)) == uid[1:] for k, uid in zip(_UIDS, uids, strict=False))
        ]
        if match[2]:
            return self._search(match[2], [header for _, header in found], asked)
        return self._retrieve([content for content, _ in found])

    def _stored(self) -> list[tuple[bytes, Dataset]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [
                (c, pydicom.dcmread(BytesIO(c), stop_before_pixels=True)) for c in self.contents
            ]

    def _search(self, level: str, headers: Sequence[Dataset], asked: Asked) -> Reply:
        key, _ = _LEVELS[level]
        filters = {k: v[0] for k, v in asked.query.items() if k[0].isupper()}
        groups: dict[str, Dataset] = {}
        counts: dict[str, int] = {}
        for header in headers:
            if self.ignores_filters or all(_matches(header, k, v) for k, v in filters.items()):
                groups.setdefault(str(header.get(key)), header)
                counts[str(header.get(key))] = counts.get(str(header.get(key)), 0) + 1
        if not groups:
            return self._no_match()
        answers = [_answer(level, header, counts[uid]) for uid, header in groups.items()]
        offset = int(asked.query.get("offset", ["0"])[0])
        limit = int(asked.query.get("limit", [str(len(answers))])[0])
        page = answers[offset : offset + limit]
        if not page:
            return self._no_match()
        return Reply.json(page, kind="application/dicom+json")

    def _no_match(self) -> Reply:
        return Reply(self.no_match_status, b"[]" if self.no_match_status == 200 else b"")

    def _retrieve(self, contents: Sequence[bytes]) -> Reply:
        if not contents:
            return Reply(404)
        parts = [self.answers_with or content[: self.truncate_to] for content in contents]
        body = b"".join(
            b"--frontier\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n"
            for part in parts
        )
        kind = 'multipart/related; type="application/dicom"; boundary=frontier'
        return Reply(200, body + b"--frontier--", {"Content-Type": kind})


def _answer(level: str, header: Dataset, n_instances: int) -> dict[str, Any]:
    key, keywords = _LEVELS[level]
    answer = Dataset()
    for keyword in (key, *keywords):
        if keyword in header:
            answer[keyword] = header[keyword]
    document: dict[str, Any] = answer.to_json_dict()
    if level == "series":
        document["00201209"] = {"vr": "IS", "Value": [str(n_instances)]}
    if level == "studies":
        document["00201208"] = {"vr": "IS", "Value": [str(n_instances)]}
        document["00080061"] = {"vr": "CS", "Value": [str(header.get("Modality", ""))]}
    return document


def _matches(header: Dataset, keyword: str, wanted: str) -> bool:
    if keyword == "ModalitiesInStudy":
        return wanted == str(header.get("Modality", ""))
    said = str(header.get(keyword, ""))
    if keyword in {"StudyDate", "StudyTime"}:
        first, _, last = wanted.partition("-")
        return first <= said <= (last or first)
    return fnmatch.fnmatchcase(said, wanted)
