"""DICOM JSON of a search -> records; what has the wrong shape is as if it were absent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cds.domain.instance_selection import InstanceRecord, SeriesRecord, wanted_instances

UID = re.compile(r"[0-9][0-9.]{0,63}")  # it becomes part of a URL (PS3.5 section 9.1)

STUDY_INSTANCE_UID = "0020000D"
ACCESSION_NUMBER = "00080050"
PATIENT_ID = "00100020"
ISSUER_OF_PATIENT_ID = "00100021"


def series_from_json(answers: list[Any]) -> tuple[SeriesRecord, ...]:
    """Return the series of a search; entries without a usable UID are dropped."""
    return tuple(
        SeriesRecord(
            series_instance_uid=uid,
            modality=text(answer, "00080060"),
            description=text(answer, "0008103E"),
            series_number=number(answer, "00200011"),
            n_instances=number(answer, "00201209"),
        )
        for answer in answers
        if (uid := uid_at(answer, "0020000E"))
    )


def instances_from_json(answers: list[Any], series_instance_uid: str) -> tuple[InstanceRecord, ...]:
    """Return the instances of a search; entries without a usable UID are dropped."""
    return tuple(
        InstanceRecord(
            series_instance_uid=series_instance_uid,
            sop_instance_uid=uid,
            sop_class_uid=text(answer, "00080016"),
            instance_number=number(answer, "00200013"),
            view_position=text(answer, "00185101"),
            image_type=tuple(str(v).upper() for v in values(answer, "00080008")),
            position=_numbers(answer, "00200032"),
            orientation=_numbers(answer, "00200037"),
            n_frames=number(answer, "00280008"),
        )
        for answer in answers
        if (uid := uid_at(answer, "00080018"))
    )


def wanted_from_metadata(metadata: list[Any], modality: str | None) -> tuple[InstanceRecord, ...]:
    """Return the instances of a study to fetch, from the metadata of all of them.

    Parameters
    ----------
    metadata
        What ``/studies/{S}/metadata`` answers (PS3.18 10.4.1.1.2): one dataset per instance.
    modality
        What the record calls the study.

    Returns
    -------
    tuple of InstanceRecord
        As `wanted_instances`: the same rule as for a query.

    """
    by_series: dict[str, list[Any]] = {}
    for answer in metadata:
        if uid := uid_at(answer, "0020000E"):
            by_series.setdefault(uid, []).append(answer)
    series = [
        replace(series_from_json([answers[0]])[0], n_instances=len(answers))
        for answers in by_series.values()
    ]
    return wanted_instances(
        series,
        modality,
        lambda one: instances_from_json(
            by_series[one.series_instance_uid], one.series_instance_uid
        ),
    )


def values(answer: object, tag: str) -> list[Any]:
    """Return the values of an attribute that are not null."""
    element = answer.get(tag) if isinstance(answer, Mapping) else None
    found = element.get("Value") if isinstance(element, Mapping) else None
    return [v for v in found if v is not None] if isinstance(found, list) else []


def text(answer: object, tag: str) -> str | None:
    """Return the first value as stripped text."""
    first = next(iter(values(answer, tag)), None)
    return str(first).strip() or None if isinstance(first, (str, int, float)) else None


def number(answer: object, tag: str) -> int | None:
    """Return the first value as a whole number; IS may be sent as text."""
    written = text(answer, tag)
    try:
        return int(float(written)) if written is not None else None
    except (ValueError, OverflowError):
        return None


def uid_at(answer: object, tag: str) -> str | None:
    """Return the first value if it is a UID that is safe in a URL."""
    written = text(answer, tag)
    return written if written is not None and UID.fullmatch(written) else None


def _numbers(answer: object, tag: str) -> tuple[float, ...] | None:
    try:
        return tuple(float(v) for v in values(answer, tag)) or None
    except (TypeError, ValueError):
        return None
