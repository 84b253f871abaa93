"""A PACS in memory and a ledger in memory, for imports from the archives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

from cds.domain.archive import ArchivedInstance, ArchivedStudy, StudySearch
from cds.domain.errors import CdsError, Reason
from tests.builders.dicom import SERIES_INSTANCE_UID, STUDY_INSTANCE_UID
from tests.fakes.clock import FixedClock

FILM_AT = datetime(2025, 3, 4, 5, 41, tzinfo=UTC)


def an_archived_study(**overrides: object) -> ArchivedStudy:
    values: dict[str, object] = {
        "study_instance_uid": STUDY_INSTANCE_UID,
        "patient_id_value": "P100",
        "issuer": "HOSPITAL-A",
        "accession_number": "A-1",
        "started_at": FILM_AT,
        "modalities": ("DX",),
        "body_part": "CHEST",
        "n_instances": 1,
    }
    return ArchivedStudy(**{**values, **overrides})  # type: ignore[arg-type]  # by keyword


class PowerCutError(Exception):
    """The process dies here."""


class FakePictureArchive:
    """Implements `cds.library.archive_ports.PictureArchive` over bytes.

    Attributes
    ----------
    fails
        Called with the name of each question and the study; may raise.

    """

    def __init__(self, *held: tuple[ArchivedStudy, tuple[bytes, ...]]) -> None:
        self.held = {study.study_instance_uid: (study, contents) for study, contents in held}
        self.fails: Callable[[str, ArchivedStudy | None], None] = lambda _what, _study: None
        self.asked: list[str] = []

    def search_studies(self, search: StudySearch) -> Iterator[ArchivedStudy]:
        del search
        for study, _ in list(self.held.values()):
            self._ask("search", study)
            yield study

    def n_instances(self, study: ArchivedStudy) -> int:
        self._ask("count", study)
        held = self.held.get(study.study_instance_uid)
        if held is None:
            raise CdsError(Reason.NO_IMAGING, "The PACS does not know this study.")
        return len(held[1])

    def retrieve_instances(self, study: ArchivedStudy) -> tuple[ArchivedInstance, ...]:
        self._ask("retrieve", study)
        numbers = count(1)
        return tuple(
            ArchivedInstance(f"{SERIES_INSTANCE_UID}.{next(numbers)}", SERIES_INSTANCE_UID, one)
            for one in self.held[study.study_instance_uid][1]
        )

    def _ask(self, what: str, study: ArchivedStudy) -> None:
        self.asked.append(what)
        self.fails(what, study)


class Waiting:
    """Sleeps by moving a clock on."""

    def __init__(self, clock: FixedClock) -> None:
        self.clock = clock
        self.slept_s: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.clock.advance(timedelta(seconds=seconds))
