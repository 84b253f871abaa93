"""The walk over study lists that are cut, repeated or unending: nothing lost, or a sentence."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from cds.adapters.egress import EgressClients
from cds.adapters.pacs_archive import DicomwebArchive
from cds.adapters.pacs_gate import PacsGate
from cds.domain.archive import ArchivedStudy, StudySearch
from cds.domain.errors import CdsError, Reason
from cds.domain.pacs_policy import PacsPolicy
from tests.builders.registration import a_registration
from tests.fakes.clock import FixedClock
from tests.fakes.http_server import LocalServer, a_server
from tests.fakes.listing_pacs import ROOT, ListedStudy, ListingPacs

SWIFT = PacsPolicy(requests_per_s=1e6, megabytes_per_s=1e6)
DAY = date(2025, 3, 10)


@contextmanager
def an_archive(
    pacs: ListingPacs, **registration: Any
) -> Iterator[tuple[DicomwebArchive, LocalServer]]:
    with a_server(pacs) as server:
        values = {
            "default_pacs_url": f"{server.url}{ROOT}",
            "permitted_networks": ("127.0.0.0/8",),
            "pacs_policy": SWIFT,
            **registration,
        }
        site = a_registration(**values)
        client = EgressClients(development=True)(site)
        archive = DicomwebArchive(site, client, PacsGate(site.pacs_policy), clock=FixedClock())
        yield archive, server


def walked(pacs: ListingPacs, **search: Any) -> list[ArchivedStudy]:
    with an_archive(pacs) as (archive, _):
        return list(archive.search_studies(StudySearch(**search)))


def uids(studies: list[ArchivedStudy]) -> list[str]:
    return [study.study_instance_uid for study in studies]


def spread(n: int, n_days: int, *, seed: int = 1) -> list[ListedStudy]:
    """Studies at random times of so many days, in random order."""
    drawn = random.Random(seed)
    studies = []
    for i in range(n):
        on = DAY + timedelta(days=drawn.randrange(n_days))
        second = drawn.randrange(86400)
        at = f"{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}"
        studies.append(ListedStudy(f"1.2.{i}", f"{on:%Y%m%d}", at))
    return studies


def in_order(studies: list[ListedStudy]) -> list[str]:
    return [s.uid for s in sorted(studies, key=lambda s: (s.on, s.at, s.uid))]


WHOLE_YEAR = {"from_on": date(2025, 1, 1), "to_on": date(2025, 12, 31)}
SERVERS: dict[str, dict[str, Any]] = {
    "well-behaved": {},
    "empty list instead of 204": {"no_match_status": 200},
    "404 where nothing matches": {"no_match_status": 404},
    "caps at 20 and warns": {"cap": 20, "warns": True},
    "caps at 20 silently": {"cap": 20},
    "lists 16 at most, whatever the offset": {"total_cap": 16},
    "lists 130 at most, whatever the offset": {"total_cap": 130},
    "ignores limit": {"ignores_limit": True},
    "ignores offset, caps at 20 silently": {"cap": 20, "ignores_offset": True},
    "ignores offset, caps at 25 and warns": {"cap": 25, "ignores_offset": True, "warns": True},
    "ignores offset and limit": {"ignores_offset": True, "ignores_limit": True},
    "ignores times": {"ignores_times": True},
    "tells no modalities": {"hidden_tags": ("00080061",)},
    "tells no counts": {"hidden_tags": ("00201208",)},
}


@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS.keys())
@pytest.mark.parametrize(
    "make",
    [lambda: spread(400, 200), lambda: spread(300, 2), lambda: spread(15, 300), list],
    ids=["a few a day", "150 a day", "one now and then", "none"],
)
def test_studies_when_walked_come_once_each_oldest_first(
    server: dict[str, Any], make: Callable[[], list[ListedStudy]]
) -> None:
    studies = make()
    assert uids(walked(ListingPacs(studies, **server), **WHOLE_YEAR)) == in_order(studies)


def test_day_that_is_cut_and_cannot_be_divided_stops_the_walk_in_words() -> None:
    pacs = ListingPacs(
        spread(130, 1), cap=100, ignores_offset=True, ignores_times=True, ignores_limit=True
    )
    with pytest.raises(CdsError, match="Nothing was passed over") as refused:
        walked(pacs, **WHOLE_YEAR)
    assert refused.value.reason is Reason.UPSTREAM_FAILED


def test_day_that_is_cut_with_studies_without_a_time_stops_the_walk() -> None:
    timeless = [ListedStudy(f"1.3.{i}", f"{DAY:%Y%m%d}") for i in range(30)]
    pacs = ListingPacs([*timeless, *spread(60, 1)], cap=50, ignores_offset=True, warns=True)
    with pytest.raises(CdsError, match="cuts its answers off"):
        walked(pacs, **WHOLE_YEAR)


@pytest.mark.parametrize("limit", [{"total_cap": 51}, {"cap": 50, "ignores_offset": True}])
def test_minute_that_may_be_cut_stops_the_walk(limit: dict[str, Any]) -> None:
    at_once = [ListedStudy(f"1.2.{i}", f"{DAY:%Y%m%d}", "120000") for i in range(60)]
    with pytest.raises(CdsError, match="cuts its answers off"):
        walked(ListingPacs(at_once, **limit), **WHOLE_YEAR)


@pytest.mark.parametrize("at", ["120000", ""], ids=["one minute", "no time"])
def test_day_that_cannot_be_divided_is_believed_of_a_server_that_lists_more(at: str) -> None:
    day = [ListedStudy(f"1.2.{i}", f"{DAY:%Y%m%d}", at) for i in range(50)]
    later = [ListedStudy(f"1.3.{i}", f"{DAY + timedelta(days=i + 1):%Y%m%d}") for i in range(9)]
    found = walked(ListingPacs([*day, *later]), **WHOLE_YEAR)
    assert uids(found) == in_order([*day, *later])


def test_server_that_ignores_dates_when_it_is_small_is_filtered_by_us() -> None:
    studies = spread(9, 300)
    pacs = ListingPacs(studies, ignores_dates=True)
    assert uids(walked(pacs, **WHOLE_YEAR)) == in_order(studies)
    only = {"from_on": DAY, "to_on": DAY + timedelta(days=30)}
    expected = [u for u in in_order(studies) if u in uids(walked(ListingPacs(studies), **only))]
    assert uids(walked(pacs, **only)) == expected


def test_server_that_ignores_dates_when_it_is_large_stops_the_walk() -> None:
    with pytest.raises(CdsError, match="cuts its answers off"):
        walked(ListingPacs(spread(500, 300), ignores_dates=True), **WHOLE_YEAR)


@pytest.mark.parametrize("server", [{"is_endless": True}, {"is_endless": True, "cap": 10}])
def test_pages_when_they_never_end_stop_the_walk_after_a_bound(server: dict[str, Any]) -> None:
    with an_archive(ListingPacs([], **server)) as (archive, asked):
        with pytest.raises(CdsError, match="did not end after 200 pages"):
            list(archive.search_studies(StudySearch(from_on=DAY, to_on=DAY)))
        assert len(asked.asked) == 200


def test_page_that_repeats_for_ever_is_noticed_at_its_second_time() -> None:
    studies = [ListedStudy(f"1.2.{i}", f"{DAY:%Y%m%d}", "120000") for i in range(12)]
    with an_archive(ListingPacs(studies, ignores_offset=True)) as (archive, server):
        found = list(archive.search_studies(StudySearch(from_on=DAY, to_on=DAY)))
        assert uids(found) == in_order(studies)
        assert len(server.asked) < 60


def test_walk_without_dates_reaches_old_films_and_a_clock_that_is_ahead() -> None:
    studies = [
        ListedStudy("1.1", "19310302"),
        ListedStudy("1.2", "19991231"),
        ListedStudy("1.3", "20260106"),  # it is 2026-01-06 04:30 UTC
        ListedStudy("1.4", "20260107"),
    ]
    assert uids(walked(ListingPacs(studies))) == ["1.1", "1.2", "1.3", "1.4"]


def test_modalities_when_several_are_asked_for_one_by_one() -> None:
    studies = [
        ListedStudy("1.1", "20250310", modalities=("DX", "SR")),
        ListedStudy("1.2", "20250311", modalities=("CT",)),
        ListedStudy("1.3", "20250312", modalities=("US",)),
        ListedStudy("1.4", "20250313", modalities=("CR", "DX")),
    ]
    with an_archive(ListingPacs(studies)) as (archive, server):
        search = StudySearch(DAY, DAY + timedelta(days=9), modalities=("dx", "CR", "CT"))
        found = list(archive.search_studies(search))
        asked = [a.query["ModalitiesInStudy"] for a in server.asked]
    assert uids(found) == ["1.1", "1.2", "1.4"]
    assert asked == [["DX"], ["CR"], ["CT"]]


def test_modality_when_the_server_ignores_it_is_checked_by_us() -> None:
    studies = [
        ListedStudy("1.1", "20250310", modalities=("DX",)),
        ListedStudy("1.2", "20250311", modalities=("US",)),
    ]
    for hidden in ((), ("00080061",)):
        pacs = ListingPacs(studies, ignores_modality=True, hidden_tags=hidden)
        (found,) = walked(pacs, **WHOLE_YEAR, modalities=("DX",))
        assert (found.study_instance_uid, found.modalities) == ("1.1", ("DX",))


def test_body_part_when_asked_for_is_read_from_the_series_and_unknown_is_kept() -> None:
    studies = [
        ListedStudy("1.1", "20250310", body_part="CHEST"),
        ListedStudy("1.2", "20250311", body_part="KNEE"),
        ListedStudy("1.3", "20250312", body_part=None),
    ]
    found = walked(ListingPacs(studies), **WHOLE_YEAR, body_parts=("chest",))
    assert [(s.study_instance_uid, s.body_part) for s in found] == [("1.1", "CHEST"), ("1.3", None)]


@pytest.mark.parametrize(
    ("at", "more", "utc"),
    [
        ("064100", {}, datetime(2025, 3, 10, 5, 41, tzinfo=UTC)),
        ("064100.250000", {}, datetime(2025, 3, 10, 5, 41, 0, 250000, tzinfo=UTC)),
        ("0641", {}, datetime(2025, 3, 10, 5, 41, tzinfo=UTC)),
        ("06:41:00", {}, datetime(2025, 3, 10, 5, 41, tzinfo=UTC)),
        ("", {}, datetime(2025, 3, 9, 23, 0, tzinfo=UTC)),
        ("nonsense", {}, datetime(2025, 3, 9, 23, 0, tzinfo=UTC)),
        (
            "064100",
            {"00080201": {"vr": "SH", "Value": ["-0500"]}},
            datetime(2025, 3, 10, 11, 41, tzinfo=UTC),
        ),
        (
            "064100",
            {"00080201": {"vr": "SH", "Value": ["+9900"]}},
            datetime(2025, 3, 10, 5, 41, tzinfo=UTC),
        ),
    ],
)
def test_start_is_read_in_the_archives_zone_unless_the_study_states_its_own(
    at: str, more: dict[str, Any], utc: datetime
) -> None:
    pacs = ListingPacs([ListedStudy("1.1", "20250310", at, more=more)])
    with an_archive(pacs, pacs_time_zone="Europe/Berlin") as (archive, _):
        (found,) = archive.search_studies(StudySearch(DAY, DAY))
    assert found.started_at == utc


def test_study_that_lists_no_date_is_found_and_has_no_start() -> None:
    pacs = ListingPacs(spread(3, 5), hidden_tags=("00080020",))
    found = walked(pacs, **WHOLE_YEAR)
    assert sorted(uids(found)) == ["1.2.0", "1.2.1", "1.2.2"]
    assert [s.started_at for s in found] == [None] * 3


def test_answers_without_a_usable_uid_are_dropped() -> None:
    bad = ListedStudy("1.2/../../x", "20250310")
    assert uids(walked(ListingPacs([bad, *spread(2, 3)]), **WHOLE_YEAR)) != []
    assert all("/" not in uid for uid in uids(walked(ListingPacs([bad]), **WHOLE_YEAR)))


@pytest.mark.parametrize(
    ("server", "n"),
    [({}, 7), ({}, 2500), ({"cap": 100}, 250), ({"cap": 40, "ignores_offset": True}, 60)],
    ids=["few", "many", "paged", "by series"],
)
def test_instances_when_counted_are_all_counted(server: dict[str, Any], n: int) -> None:
    study = ListedStudy("1.1", "20250310", modalities=("CT", "CT"), n_instances=n)
    with an_archive(ListingPacs([study], **server)) as (archive, _):
        (found,) = archive.search_studies(StudySearch(DAY, DAY))
        assert archive.n_instances(found) == n


@pytest.mark.parametrize("n", [10, 50, 64, 100, 200, 300])
def test_instances_of_a_round_number_are_counted(n: int) -> None:
    study = ListedStudy("1.1", "20250310", modalities=("CT",), n_instances=n)
    with an_archive(ListingPacs([study])) as (archive, _):
        (found,) = archive.search_studies(StudySearch(DAY, DAY))
        assert archive.n_instances(found) == n


def test_instances_when_cut_beyond_counting_are_refused() -> None:
    study = ListedStudy("1.1", "20250310", modalities=("CT",), n_instances=300)
    with an_archive(ListingPacs([study], cap=100, ignores_offset=True)) as (archive, _):
        (found,) = archive.search_studies(StudySearch(DAY, DAY))
        with pytest.raises(CdsError, match="cuts the list"):
            archive.n_instances(found)


def test_study_that_is_gone_is_no_imaging() -> None:
    pacs = ListingPacs(spread(1, 1))
    with an_archive(pacs) as (archive, _):
        (found,) = archive.search_studies(StudySearch(DAY, DAY))
        pacs.studies.clear()
        with pytest.raises(CdsError) as refused:
            archive.n_instances(found)
    assert refused.value.reason is Reason.NO_IMAGING


def test_searches_when_sent_ask_for_fresh_answers_and_carry_no_name() -> None:
    with an_archive(ListingPacs(spread(1, 1))) as (archive, server):
        list(archive.search_studies(StudySearch(DAY, DAY)))
        (asked,) = server.asked
    assert asked.headers["accept"] == "application/dicom+json"
    assert asked.query["StudyDate"] == ["20250310-20250310"]
    assert asked.query["includefield"] == ["00100021", "00080061", "00080201", "00201208"]
