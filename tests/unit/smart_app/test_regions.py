"""The regions of a pair: offered where both pictures are, served to the window that showed them."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from flask import Flask

from cds.domain.errors import CdsError, Reason
from cds.domain.key_slices import BY_POSITION, SlicePlace
from models.similarity_picture import with_regions
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
    left, right = region_urls(page)
    assert left == right  # one picture holds both: a browser asks once
    assert left.partition("?")[0].split("/")[3:] == [REPORT_ID, "case0001", "picture0001"]


def test_page_says_nothing_of_lesions(door: Door) -> None:
    assert "lesion" not in text_of(door.page(a_case_report())).lower()


def test_region_picture_is_served_uncached_and_each_view_is_passed_on(door: Door) -> None:
    answer = door.client.get(region_urls(door.page(a_case_report()))[0])

    assert answer.status_code == 200
    assert answer.content_type == "image/png"
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert door.engine.viewed == [("case0001", "picture0001", "sandbox", "Practitioner/okafor")]


def test_region_pictures_of_two_cases_have_their_own_addresses(door: Door) -> None:
    urls = region_urls(door.page(a_case_report()))
    n_cases = text_of(door.page(a_case_report())).count(TOGGLE)
    assert n_cases > 1
    assert len(set(urls)) == n_cases


def test_page_says_which_slices_of_a_ct_are_shown(door: Door) -> None:
    matched = replace(
        a_neighbor(1),
        query_place=SlicePlace(12, 40, BY_POSITION),
        case_place=SlicePlace(7, 31, BY_POSITION),
    )
    page = door.page(a_case_report(neighbors=(matched,)))
    assert "This patient, slice 12 of 40" in text_of(page)
    assert "slice 7 of 31, 2023" in text_of(page)
    assert 'alt="Case 1, slice 7 of 31, 2023; coloured:' in page
    assert "film" not in re.findall(r'alt="Case 1[^"]*"', page)[0]


def test_page_when_the_slice_of_a_case_is_not_known_says_so(door: Door) -> None:
    known = replace(a_neighbor(1), query_place=SlicePlace(12, 40, BY_POSITION))
    assert "slice, its number not recorded, 2023" in text_of(
        door.page(a_case_report(neighbors=(known,)))
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("picture0001", "picture9999", id="picture-not-shown"),
        pytest.param(REPORT_ID, "another-report", id="report-not-shown"),
        pytest.param("case0001", "case0002", id="picture-of-another-case"),
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


def test_region_picture_when_it_is_refused_says_why_in_its_place(door: Door) -> None:
    url = region_urls(door.page(a_case_report()))[0]
    door.engine.failure = CdsError(Reason.NOT_FOUND, "It is <gone> & away.")
    answer = door.client.get(url, headers={"Accept": "image/avif,image/webp,image/*,*/*;q=0.8"})
    assert answer.status_code == 404
    assert answer.content_type.startswith("image/svg+xml")
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.text.count("It is &lt;gone&gt; &amp; away.") == 2  # one in each half
    page = door.client.get(url, headers={"Accept": "text/html,image/webp,*/*;q=0.8"})
    assert page.content_type.startswith("text/html")


def test_region_picture_when_the_session_has_ended_says_so_in_its_place(
    door: Door, app: Flask
) -> None:
    url = region_urls(door.page(a_case_report()))[0]
    answer = app.test_client().get(url, headers={"Accept": "image/*"})
    assert answer.status_code == 401
    assert answer.text.count("There is no open session in this window") == 2


def test_legend_has_the_colours_that_the_pictures_have_over_a_grey_film(door: Door) -> None:
    legend = re.findall(
        r'<stop offset="([^"]+)" stop-color="#(\w{6})" stop-opacity="([^"]+)"/>',
        door.page(a_case_report(neighbors=(a_neighbor(1),))),
    )
    assert len(legend) > 5
    shares = np.array([[float(offset) for offset, _, _ in legend]])
    shown = with_regions(np.full(shares.shape, 128 / 255, dtype=np.float32), shares)
    for (_, colour, opacity), pixel in zip(legend, shown[0], strict=True):
        over = np.array(list(bytes.fromhex(colour))) * float(opacity)
        assert pixel == pytest.approx(128 * (1 - float(opacity)) + over, abs=2)
