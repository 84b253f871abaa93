"""A picture that the clinician brings along, compared beside the chart and never bound to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pydicom
import pytest

from tests.e2e.drawn_pictures import pictures_are_drawn

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import FilePayload, FrameLocator

    from tests.e2e.conftest import Walk

pytestmark = pytest.mark.e2e

MATCHES = "h2#matches-title"
TOO_LARGE_BYTES = 21 * 1024 * 1024


def open_form(walk: Walk) -> FrameLocator:
    """Open a chart, the app, and from its page the form; P4's card is left for another walk."""
    walk.sign_in("dr.okafor")
    walk.open_chart("P5")
    app = walk.open_app()
    app.get_by_role("link", name="Compare another picture").click()
    app.locator("input[type=file]").wait_for()
    return app


def film_of_the_open_chart(walk: Walk) -> Path:
    """Return the DICOM file of the patient whose chart is open."""
    banner = walk.page.locator("[data-testid=patient-banner]")
    mrn = banner.locator("dd").nth(1).inner_text()
    films = walk.demo.state.glob("generated-*/tryout/dicom/*/*.dcm")
    return next(f for f in films if str(pydicom.dcmread(f, force=True).get("PatientID")) == mrn)


def test_upload_when_compared_shows_cases_and_is_bound_to_nobody(walk: Walk) -> None:
    app = open_form(walk)
    app.locator("input[type=file]").set_input_files(film_of_the_open_chart(walk))
    app.get_by_role("button", name="Compare").click()
    app.locator(MATCHES).wait_for(timeout=30_000)
    assert pictures_are_drawn(app) >= 6
    family = walk.page.locator("[data-testid=patient-banner] h1").inner_text().split(",")[0]
    text = walk.app_text()
    assert "Not bound to a patient: this picture was uploaded by you." in text
    assert "Investigational software" in text
    assert family not in text
    app.locator(".patient").scroll_into_view_if_needed()
    walk.keep("upload")
    assert walk.complaints == []
    walk.refuse_foreign_hosts()


def test_upload_when_the_picture_is_cut_off_or_too_large_says_so(walk: Walk) -> None:
    app = open_form(walk)
    walk.keep("upload-form")
    film = film_of_the_open_chart(walk).read_bytes()
    picture: FilePayload = {
        "name": "film.dcm",
        "mimeType": "application/dicom",
        "buffer": film[:-5000],
    }
    app.locator("input[type=file]").set_input_files(picture)
    app.get_by_role("button", name="Compare").click()
    refusal = app.get_by_role("alert")
    refusal.wait_for()
    assert "damaged or incomplete" in refusal.inner_text()
    assert app.locator(MATCHES).count() == 0
    walk.keep("upload-refused")

    picture["buffer"] = film + bytes(TOO_LARGE_BYTES)
    app.locator("input[type=file]").set_input_files(picture)
    app.get_by_role("button", name="Compare").click()
    app.get_by_text("The file is larger than 20 MB").wait_for()
