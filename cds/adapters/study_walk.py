"""The studies of an archive in the order of their dates, each once, whatever the server cuts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any

from cds.adapters import dicom_json
from cds.adapters.qido_search import End, Found, QidoSearch
from cds.adapters.study_json import study_from_json, study_on, study_time
from cds.domain.archive import ArchivedStudy, StudySearch
from cds.domain.errors import CdsError, Reason

EARLIEST = date(1900, 1, 1)
LATEST = date(2999, 12, 31)
FIRST_MONTH = date(1980, 1, 1)  # what is older is walked as one slice, and halved if it is full
SHORTEST_S = 60
DAY_S = 24 * 3600
BODY_PART_EXAMINED = "00180015"
MODALITY = "00080060"
SERIES_INSTANCE_UID = "0020000E"
_FIELDS = ("00100021", "00080061", "00080201", "00201208")


@dataclass(frozen=True, slots=True)
class Slice:
    """Study Dates, both ends included; for one day also a part of it, in seconds of the day."""

    from_on: date
    to_on: date
    from_s: int = 0
    to_s: int = DAY_S

    @property
    def is_part_of_day(self) -> bool:
        """Tell whether it is less than a day."""
        return (self.from_s, self.to_s) != (0, DAY_S)

    def parameters(self) -> dict[str, str]:
        """Return the query that matches it."""
        dates = f"{self.from_on:%Y%m%d}-{self.to_on:%Y%m%d}"
        if not self.is_part_of_day:
            return {"StudyDate": dates}
        return {"StudyDate": dates, "StudyTime": f"{_tm(self.from_s)}-{_tm(self.to_s - 1)}.999999"}

    def holds(self, answer: object) -> bool:
        """Check an answer ourselves, servers ignore what they do not know; unstated is believed."""
        on, at = study_on(answer), study_time(answer)
        if on is not None and not self.from_on <= on <= self.to_on:
            return False
        return at is None or self.from_s <= _seconds(at) < self.to_s

    def halves(self) -> tuple[Slice, Slice] | None:
        """Return its two halves, None if it is as small as it may be."""
        n_days = (self.to_on - self.from_on).days
        if n_days > 0:
            middle = self.from_on + timedelta(days=n_days // 2)
            return replace(self, to_on=middle), replace(self, from_on=middle + timedelta(days=1))
        length_s = self.to_s - self.from_s
        if length_s <= SHORTEST_S:
            return None
        middle_s = self.from_s + length_s // 2
        return replace(self, to_s=middle_s), replace(self, from_s=middle_s)


class StudyWalk:
    """Walks the studies that a librarian asked for.

    A slice whose answer is not whole is halved, down to a day; a day is paged; and where the
    server ignores `offset`, the day is halved by Study Time. What cannot be listed in full stops
    the walk with a sentence, it is never passed over.

    Parameters
    ----------
    qido
        Searches of the service.
    zone
        Of the archive's dates and times.

    """

    def __init__(self, qido: QidoSearch, *, zone: tzinfo) -> None:
        self._qido = qido
        self._zone = zone

    def studies(self, search: StudySearch, *, now: datetime) -> Iterator[ArchivedStudy]:
        """Yield the studies, oldest first, each once.

        Parameters
        ----------
        search
            Without a last date up to tomorrow: a modality's clock may be ahead.
        now
            Aware.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED or UPSTREAM_REFUSED once the archive cannot be asked further.

        """
        last = search.to_on or now.astimezone(self._zone).date() + timedelta(days=1)
        seen: set[str] = set()
        for part in slices(search.from_on, last):
            answers: dict[str, Any] = {}
            for modality in _asked_modalities(search):
                answers.update(self._listed(part, modality))
            for answer in sorted(answers.values(), key=_order):
                study = study_from_json(answer, zone=self._zone)
                if study is None or study.study_instance_uid in seen:
                    continue
                seen.add(study.study_instance_uid)
                wanted = self._wanted(study, search)
                if wanted is not None:
                    yield wanted

    def _listed(self, part: Slice, modality: str | None) -> dict[str, Any]:
        """Return the answers of a slice, by Study Instance UID."""
        is_day = part.from_on == part.to_on
        try:
            found = self._asked(part, modality, pages_on=is_day)
        except CdsError as error:
            if "max_bytes" not in error.facts or part.halves() is None:
                raise
            found = Found((), End.OPEN)  # too long to be read: like one that is cut
        inside = _by_uid(part, found.answers)
        if not found.is_whole:
            return self._halved(part, modality, found, inside)
        return inside

    def _halved(
        self, part: Slice, modality: str | None, found: Found, inside: dict[str, Any]
    ) -> dict[str, Any]:
        halves = part.halves()
        is_ignored = bool(found.answers) and len(inside) * 2 < len(found.answers)
        if is_ignored and not part.is_part_of_day:
            raise _cannot_be_listed()  # the dates are ignored: halving would ask for ever
        if halves is None or is_ignored:
            self._check_listed(found)
            return inside
        listed = dict(inside)
        for half in halves:
            listed.update(self._listed(half, modality))
        is_timeless = any(study_time(answer) is None for answer in inside.values())
        if is_timeless and halves[0].is_part_of_day:
            self._check_listed(found)  # no part of a day holds a study without a time
        return listed

    def _check_listed(self, found: Found) -> None:
        """Refuse a list that cannot be divided further and may have been cut."""
        if not found.looks_cut:
            return
        n = len(found.answers)
        everything = {"StudyDate": f"{EARLIEST:%Y%m%d}-{LATEST:%Y%m%d}"}
        if found.end is End.UNPROVEN and self._qido.lists_more(
            n, "/studies", everything, key=dicom_json.STUDY_INSTANCE_UID
        ):
            return
        raise _cannot_be_listed()

    def _asked(self, part: Slice, modality: str | None, *, pages_on: bool) -> Found:
        parameters: dict[str, str | tuple[str, ...]] = {**part.parameters()}
        if modality is not None:
            parameters["ModalitiesInStudy"] = modality
        return self._qido.search(
            "/studies",
            {**parameters, "includefield": _FIELDS},
            key=dicom_json.STUDY_INSTANCE_UID,
            pages_on=pages_on,
            is_persistent=True,
        )

    def _wanted(self, study: ArchivedStudy, search: StudySearch) -> ArchivedStudy | None:
        """Return the study with its body part if it is asked for; no series says no is no no."""
        needs_series = bool(search.body_parts) or (search.modalities and not study.modalities)
        if needs_series:
            study = self._with_series_facts(study)
        if search.modalities and not set(study.modalities) & set(_upper(search.modalities)):
            return None
        if search.body_parts and study.body_part not in {None, *_upper(search.body_parts)}:
            return None
        return study

    def _with_series_facts(self, study: ArchivedStudy) -> ArchivedStudy:
        found = self._qido.search(
            f"/studies/{study.study_instance_uid}/series",
            {"includefield": (BODY_PART_EXAMINED,)},
            key=SERIES_INSTANCE_UID,
            is_persistent=True,
        )
        parts = [p.upper() for a in found.answers if (p := dicom_json.text(a, BODY_PART_EXAMINED))]
        modalities = [m.upper() for a in found.answers if (m := dicom_json.text(a, MODALITY))]
        return replace(
            study,
            body_part=next(iter(parts), None),
            modalities=study.modalities or tuple(dict.fromkeys(modalities)),
        )


def slices(from_on: date | None, to_on: date) -> Iterator[Slice]:
    """Yield calendar months, cut to the dates asked for.

    Examples
    --------
    >>> [str(s.to_on) for s in slices(date(2026, 1, 30), date(2026, 3, 2))]
    ['2026-01-31', '2026-02-28', '2026-03-02']

    """
    start = from_on or EARLIEST
    if start < FIRST_MONTH <= to_on:
        yield Slice(start, FIRST_MONTH - timedelta(days=1))
        start = FIRST_MONTH
    while start <= to_on:
        next_month = (start.replace(day=1) + timedelta(days=32)).replace(day=1)
        yield Slice(start, min(next_month - timedelta(days=1), to_on))
        start = next_month


def _by_uid(part: Slice, answers: tuple[Any, ...]) -> dict[str, Any]:
    return {
        uid: answer
        for answer in answers
        if part.holds(answer) and (uid := dicom_json.uid_at(answer, dicom_json.STUDY_INSTANCE_UID))
    }


def _asked_modalities(search: StudySearch) -> tuple[str | None, ...]:
    """Return one query each: a list of modalities is understood by few servers."""
    return _upper(search.modalities) or (None,)


def _upper(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.strip().upper() for text in texts))


def _order(answer: object) -> tuple[date, time, str]:
    uid = dicom_json.uid_at(answer, dicom_json.STUDY_INSTANCE_UID) or ""
    return study_on(answer) or EARLIEST, study_time(answer) or time(), uid


def _seconds(at: time) -> int:
    return at.hour * 3600 + at.minute * 60 + at.second


def _tm(second_of_day: int) -> str:
    minutes, seconds = divmod(second_of_day, 60)
    return f"{minutes // 60:02d}{minutes % 60:02d}{seconds:02d}"


def _cannot_be_listed() -> CdsError:
    return CdsError(
        Reason.UPSTREAM_FAILED,
        "The PACS cuts its answers off and cannot be paged; raise its limit of search results, "
        "or let it support `offset`. Nothing was passed over.",
    )
