"""A clinician's way through the demo: list, chart, card, app beside the chart, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from tests.e2e.drawn_pictures import pictures_are_drawn

if TYPE_CHECKING:
    from tests.e2e.conftest import Walk

pytestmark = pytest.mark.e2e

NO_MATCHES = "h2#matches-title"


def walk_from_list_to_report(walk: Walk, login: str, shots: str) -> None:
    walk.sign_in(login)
    walk.keep(f"{shots}-1-patients")
    walk.open_chart("P4")
    card = walk.page.locator("[data-testid=card]").first
    assert len(card.locator("h3").inner_text()) < 140
    walk.keep(f"{shots}-2-chart-with-card")

    card.locator("[data-testid=smart-link]").first.click()
    app = walk.app()
    app.locator(NO_MATCHES).wait_for()
    assert pictures_are_drawn(app) >= 2
    walk.keep(f"{shots}-3-app-beside-chart")
    assert "investigational" in walk.app_text().lower()

    walk.open_tab("Reports")
    card.wait_for()  # the advice stays while the chart is open
    report = walk.page.locator("[data-testid=app-report]").first
    report.wait_for()
    assert "preliminary" in report.inner_text()
    report.locator("summary").click()
    assert '"resourceType": "DiagnosticReport"' in report.locator("pre").inner_text()
    walk.keep(f"{shots}-4-report")
    assert walk.complaints == []
    walk.refuse_foreign_hosts()


def test_demo_when_walked_from_list_to_report_shows_matches_with_pictures(walk: Walk) -> None:
    walk_from_list_to_report(walk, "dr.okafor", "walk")


def test_demo_when_third_party_cookies_are_blocked_still_works_in_the_frame(
    strict_walk: Walk, plain_cookie_of_frame: str | None
) -> None:
    assert plain_cookie_of_frame is None  # the browser really blocks them
    walk_from_list_to_report(strict_walk, "dr.lindqvist", "blocked-cookies")


def test_report_when_read_without_a_token_is_refused(walk: Walk) -> None:
    url = f"{walk.demo.app_url}/t/st-brevis/fhir/DiagnosticReport?patient=Patient/p4"
    answer = requests.get(url, timeout=10)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_chart_when_picture_names_another_patient_shows_no_comparison(walk: Walk) -> None:
    walk.sign_in("dr.okafor")
    walk.open_chart("P11")
    assert "does not match this chart" in walk.cards_text()
    app = walk.open_app()
    assert app.locator("main img").count() == 0
    assert app.locator(NO_MATCHES).count() == 0
    assert "The picture does not match this chart" in walk.app_text()
    walk.keep("p11-identity")
    walk.refuse_foreign_hosts()


def test_chart_when_film_is_an_abdomen_is_not_assessed(walk: Walk) -> None:
    walk.sign_in("dr.okafor")
    walk.open_chart("P10")
    walk.keep("p10-chart")
    app = walk.open_app()
    assert app.locator(NO_MATCHES).count() == 0
    headings = app.locator("h1, h2").all_inner_texts()
    assert {"Not assessed", "Nothing comparable"} & set(headings)
    walk.keep("p10-not-assessed")


def test_chart_when_a_final_report_exists_is_silent_and_the_app_still_opens(walk: Walk) -> None:
    walk.sign_in("dr.okafor")
    walk.open_chart("P12")
    assert walk.page.locator("[data-testid=card]").count() == 0
    assert walk.page.locator("[data-testid=no-cards]").is_visible()
    walk.open_app()
    walk.keep("p12-silence")
    assert walk.complaints == []


def test_chart_when_there_is_no_imaging_is_silent_and_the_app_says_so(walk: Walk) -> None:
    walk.sign_in("dr.okafor")
    walk.open_chart("noimaging")
    assert walk.page.locator("[data-testid=card]").count() == 0
    walk.open_app()
    assert "no imaging" in walk.app_text().lower()
    walk.keep("no-imaging")


def test_app_when_the_pacs_is_down_says_what_is_missing(walk: Walk) -> None:
    walk.sign_in("dr.okafor")
    walk.switch("pacs", "down")
    try:
        walk.open_chart("P5")
        assert walk.page.locator("[data-testid=cards-failure]").count() == 0
        app = walk.open_app()
        walk.keep("pacs-down")
        assert "Pictures cannot be fetched at the moment" in walk.app_text()
        assert app.locator("main img").count() == 0
        assert app.locator(NO_MATCHES).count() == 0
    finally:
        walk.switch("pacs", "up")


@pytest.mark.parametrize("case", ["truncated", "pdf"])
def test_app_when_the_file_is_no_whole_picture_says_so(walk: Walk, case: str) -> None:
    walk.sign_in("dr.okafor")
    walk.open_chart(case)
    app = walk.open_app()
    assert "Not assessed" in app.locator("h1, h2").all_inner_texts()
    assert app.locator("main img").count() == 0
    walk.keep(f"unreadable-{case}")


def test_app_when_the_fhir_server_is_down_says_so_and_the_chart_stays(walk: Walk) -> None:
    walk.sign_in("dr.okafor")
    walk.switch("fhir", "down")
    try:
        walk.open_chart("P7")
        assert walk.page.locator("[data-testid=patient-banner]").is_visible()
        app = walk.open_app()
        assert app.locator(NO_MATCHES).count() == 0
        assert "EHR" in walk.app_text()
        walk.keep("fhir-down")
    finally:
        walk.switch("fhir", "up")


@pytest.mark.parametrize("query", ["", "?iss=http://unknown.invalid/fhir&launch=x", "?iss=x"])
def test_launch_when_iss_is_missing_or_unknown_gives_a_sentence(walk: Walk, query: str) -> None:
    answer = requests.get(f"{walk.demo.app_url}/launch{query}", timeout=10, allow_redirects=False)
    assert answer.status_code in {400, 403}
    assert "EHR" in answer.text
    assert "unknown.invalid" not in answer.text


def test_logs_when_the_demo_was_walked_hold_no_name_and_no_token(walk: Walk) -> None:
    walk.sign_in("dr.okafor")
    walk.open_chart("P4")
    banner = walk.page.locator("[data-testid=patient-banner]")
    family = banner.locator("h1").inner_text().split(",")[0]
    mrn = banner.locator("dd").nth(1).inner_text()
    for path in walk.demo.state.glob("logs/*.log"):
        text = path.read_text().casefold()
        assert family.casefold() not in text
        assert mrn.casefold() not in text
        assert "bearer " not in text
