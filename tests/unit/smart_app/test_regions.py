"""The regions of a pair: offered where both pictures are, served to the window that showed them."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
from flask import Flask

from cds.domain.errors import CdsError, Reason
from smart_app.application import create_app
from tests.builders.case_report import REPORT_ID, a_case_report, a_neighbor
from tests.fakes.clinician_door import Door, text_of
from tests.fakes.launch_engine import FakeLaunchEngine

TOGGLE = "Show regions that make these two pictures similar"


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(FakeLaunchEngine("https://ehr.example.invalid/fhir"))


@pytest.fixture
def door(app: Flask) -> Door:
    return Door(app)


def region_urls(page: str) -> list[str]:
    return [unescape(url) for url in re.findall(r'src="(/app/regions/[^"]+)"', page)]


def test_page_offers_the_regions_of_each_pair_with_two_pictures(door: Door) -> None:
    without = (
        a_neighbor(2, picture_id=None),
        replace(a_neighbor(3), image_similarity=None),
    )
    page = door.page(a_case_report(neighbors=(a_neighbor(1), *without)))

    assert text_of(page).count(TOGGLE) == 1
    assert [url.split("/")[3:7] for url in region_urls(page)] == [
        [side, REPORT_ID, "case0001", url_tail(page)] for side in ("query", "case")
    ]


def url_tail(page: str) -> str:
    return region_urls(page)[0].split("/")[6]


def test_page_says_nothing_of_lesions(door: Door) -> None:
    assert "lesion" not in text_of(door.page(a_case_report())).lower()


@pytest.mark.parametrize("side", ["query", "case"])
def test_region_picture_is_served_uncached_and_each_view_is_passed_on(
    door: Door, side: str
) -> None:
    url = next(u for u in region_urls(door.page(a_case_report())) if f"/{side}/" in u)
    answer = door.client.get(url)

    assert answer.status_code == 200
    assert answer.content_type == "image/png"
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert door.engine.viewed == [("case0001", "picture0001", "sandbox", "Practitioner/okafor")]


def test_region_pictures_of_a_pair_differ(door: Door) -> None:
    one, other = region_urls(door.page(a_case_report()))[:2]
    assert door.client.get(one).data != door.client.get(other).data


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("picture0001", "picture9999", id="picture-not-shown"),
        pytest.param(REPORT_ID, "another-report", id="report-not-shown"),
        pytest.param("regions/query", "regions/other", id="no-such-side"),
    ],
)
def test_region_picture_of_what_was_not_shown_is_not_found(door: Door, old: str, new: str) -> None:
    url = region_urls(door.page(a_case_report()))[0]
    assert door.client.get(url.replace(old, new)).status_code == 404
    assert door.engine.viewed == []


def test_region_picture_without_a_session_is_refused(door: Door, app: Flask) -> None:
    url = region_urls(door.page(a_case_report()))[0]
    assert app.test_client().get(url).status_code == 401
    assert door.engine.viewed == []


def test_region_picture_when_the_encoder_fails_is_an_error_and_no_picture(door: Door) -> None:
    url = region_urls(door.page(a_case_report()))[0]
    door.engine.failure = CdsError(Reason.MODEL_UNAVAILABLE, "The regions cannot be computed.")
    answer = door.client.get(url)
    assert answer.status_code == 503
    assert answer.content_type != "image/png"
