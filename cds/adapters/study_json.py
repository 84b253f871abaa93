"""DICOM JSON of a study search -> what the archive says of a study."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo

from cds.adapters import dicom_json
from cds.domain.archive import ArchivedStudy

STUDY_DATE = "00080020"
STUDY_TIME = "00080030"
MODALITIES_IN_STUDY = "00080061"
TIMEZONE_OFFSET = "00080201"
N_STUDY_INSTANCES = "00201208"
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)")


def study_from_json(answer: object, *, zone: tzinfo) -> ArchivedStudy | None:
    """Return the study of one answer, None without a usable UID.

    Parameters
    ----------
    answer
        DICOM JSON.
    zone
        The archive's, where the answer states no Timezone Offset From UTC (0008,0201).

    """
    uid = dicom_json.uid_at(answer, dicom_json.STUDY_INSTANCE_UID)
    if uid is None:
        return None
    return ArchivedStudy(
        study_instance_uid=uid,
        patient_id_value=dicom_json.text(answer, dicom_json.PATIENT_ID),
        issuer=dicom_json.text(answer, dicom_json.ISSUER_OF_PATIENT_ID),
        accession_number=dicom_json.text(answer, dicom_json.ACCESSION_NUMBER),
        started_at=_started_at(answer, zone),
        modalities=modalities_of(answer),
        n_instances=dicom_json.number(answer, N_STUDY_INSTANCES),
    )


def modalities_of(answer: object) -> tuple[str, ...]:
    """Return Modalities in Study, upper case; some servers send one text with backslashes."""
    written = [str(v) for v in dicom_json.values(answer, MODALITIES_IN_STUDY)]
    return tuple(dict.fromkeys(m.strip().upper() for v in written for m in v.split("\\") if m))


def study_on(answer: object) -> date | None:
    """Return Study Date, None if there is none that can be read."""
    written = (dicom_json.text(answer, STUDY_DATE) or "").replace(".", "")  # ACR-NEMA wrote dots
    if len(written) != 8 or not written.isdecimal():
        return None
    try:
        return date(int(written[:4]), int(written[4:6]), int(written[6:]))
    except ValueError:
        return None


def study_time(answer: object) -> time | None:
    """Return Study Time with what precision it has, None if there is none that can be read."""
    written = (dicom_json.text(answer, STUDY_TIME) or "").replace(":", "")
    whole, _, fraction = written.partition(".")
    if len(whole) not in {2, 4, 6} or not whole.isdecimal() or not (fraction or "0").isdecimal():
        return None
    padded = whole.ljust(6, "0")
    second = min(int(padded[4:]), 59)  # a leap second is written as 60
    microsecond = int(fraction[:6].ljust(6, "0"))
    try:
        return time(int(padded[:2]), int(padded[2:4]), second, microsecond)
    except ValueError:
        return None


def _started_at(answer: object, zone: tzinfo) -> datetime | None:
    """Return Study Date and Time in UTC; a date without a time counts from its midnight."""
    on = study_on(answer)
    if on is None:
        return None
    match = _OFFSET.fullmatch(dicom_json.text(answer, TIMEZONE_OFFSET) or "")
    if match is not None:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if offset <= timedelta(hours=14):  # Source: PS3.3 C.12.1.1, -1200 to +1400
            zone = timezone(-offset if match[1] == "-" else offset)
    local = datetime.combine(on, study_time(answer) or time(), tzinfo=zone)
    try:
        return local.astimezone(UTC)
    except OverflowError:  # the first or last day of the calendar: somebody's "unknown"
        return None
