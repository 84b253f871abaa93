"""The study list of a PACS over HTTP: pages, caps and the ways in which servers get them wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.http_server import Asked, Reply

ROOT = "/dicomweb"


@dataclass
class ListedStudy:
    """One line of the list."""

    uid: str
    on: str  # YYYYMMDD, or nothing
    at: str = ""  # HHMMSS, or nothing
    modalities: tuple[str, ...] = ("DX",)
    body_part: str | None = "CHEST"
    n_instances: int = 2
    patient_id_value: str = "P1"
    more: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "0020000D": {"vr": "UI", "Value": [self.uid]},
            "00080020": {"vr": "DA", "Value": [self.on] if self.on else []},
            "00080030": {"vr": "TM", "Value": [self.at] if self.at else []},
            "00080050": {"vr": "SH", "Value": [f"A-{self.uid}"]},
            "00080061": {"vr": "CS", "Value": list(self.modalities)},
            "00100020": {"vr": "LO", "Value": [self.patient_id_value]},
            "00201208": {"vr": "IS", "Value": [self.n_instances]},
            **self.more,
        }


@dataclass
class ListingPacs:
    """Answers QIDO-RS for its studies, their series and their instances.

    Attributes
    ----------
    cap
        Never answers more than so many at once.
    total_cap
        Never lists more than so many, whatever the offset, as Orthanc with a limit of results.
    warns
        Says so with ``Warning: 299``.
    is_endless
        Invents new studies for every further page.

    """

    studies: list[ListedStudy]
    cap: int | None = None
    total_cap: int | None = None
    warns: bool = False
    ignores_offset: bool = False
    ignores_limit: bool = False
    ignores_dates: bool = False
    ignores_times: bool = False
    ignores_modality: bool = False
    is_endless: bool = False
    no_match_status: int = 204
    hidden_tags: tuple[str, ...] = ()

    def __call__(self, asked: Asked) -> Reply:
        parts = asked.path.removeprefix(f"{ROOT}/").split("/")
        if parts == ["studies"]:
            return self._page(asked, [s.to_json() for s in self._matching(asked)])
        study = next((s for s in self.studies if s.uid == parts[1]), None)
        if study is None:
            return Reply(404)
        if parts[-1] == "series":
            return self._page(asked, list(_series(study)))
        return self._page(asked, _instances(study, parts))

    def _matching(self, asked: Asked) -> Iterator[ListedStudy]:
        first_on, _, last_on = asked.query.get("StudyDate", ["-"])[0].partition("-")
        first_at, _, last_at = asked.query.get("StudyTime", ["-"])[0].partition("-")
        modality = asked.query.get("ModalitiesInStudy", [""])[0]
        for study in self.studies:
            is_on = self.ignores_dates or first_on <= study.on <= last_on
            is_at = not last_at or self.ignores_times or first_at <= study.at <= last_at
            if last_at and not self.ignores_times and not study.at:
                is_at = False
            is_kind = not modality or self.ignores_modality or modality in study.modalities
            if is_on and is_at and is_kind:
                yield study

    def _page(self, asked: Asked, answers: list[dict[str, Any]]) -> Reply:
        answers = answers[: self.total_cap]
        offset = 0 if self.ignores_offset else int(asked.query["offset"][0])
        limit = len(answers) if self.ignores_limit else int(asked.query["limit"][0])
        size = min(limit, self.cap or limit)
        if self.is_endless:
            made = range(offset, offset + size)
            answers = [*answers, *(ListedStudy(f"2.25.{i}", "20260105").to_json() for i in made)]
            page = answers[-size:]
        else:
            page = answers[offset : offset + size]
        if not page:
            return Reply(self.no_match_status, b"[]" if self.no_match_status == 200 else b"")
        shown = [{t: v for t, v in a.items() if t not in self.hidden_tags} for a in page]
        reply = Reply.json(shown, kind="application/dicom+json")
        if self.warns and offset + size < len(answers):
            reply.headers["Warning"] = '299 pacs "There are additional results"'
        return reply


def _series(study: ListedStudy) -> Iterator[dict[str, Any]]:
    for i, modality in enumerate(study.modalities):
        body_part = [study.body_part] if study.body_part else []
        yield {
            "0020000E": {"vr": "UI", "Value": [f"{study.uid}.{i + 1}"]},
            "00080060": {"vr": "CS", "Value": [modality]},
            "00180015": {"vr": "CS", "Value": body_part},
        }


def _instances(study: ListedStudy, parts: list[str]) -> list[dict[str, Any]]:
    series = [f"{study.uid}.{i + 1}" for i in range(len(study.modalities))]
    asked_for = [parts[3]] if len(parts) == 5 else series
    return [
        {"00080018": {"vr": "UI", "Value": [f"{series[i % len(series)]}.{i}"]}}
        for i in range(study.n_instances)
        if series[i % len(series)] in asked_for
    ]
