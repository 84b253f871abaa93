"""The switch for the regions of a pair, by keyboard, in the running demo."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import FrameLocator, Locator

    from tests.e2e.conftest import Walk

pytestmark = pytest.mark.e2e

PATIENCE_S = 60  # the first pair after a start works out the library's mean as well
SWITCH = "Show regions that make these two pictures similar"
IS_DRAWN = "image => image.complete && image.naturalWidth === 2 * image.naturalHeight"
# Share of the pixels that the half in view colours, as the browser draws it.
COLOURED = """
image => {
    const canvas = document.createElement("canvas"), side = image.naturalHeight;
    canvas.width = canvas.height = 64;
    const left = image.classList.contains("right-half") ? side : 0;
    const context = canvas.getContext("2d");
    context.drawImage(image, left, 0, side, side, 0, 0, 64, 64);
    const values = context.getImageData(0, 0, 64, 64).data;
    let n = 0;
    for (let i = 0; i < values.length; i += 4) {
        const rgb = values.slice(i, i + 3);
        n += Math.max(...rgb) - Math.min(...rgb) > 40;
    }
    return n / (64 * 64);
}
"""


def open_answer(walk: Walk) -> FrameLocator:
    walk.sign_in("dr.okafor")
    walk.open_chart("P4")
    app = walk.open_app()
    app.locator("h2#matches-title").wait_for()
    return app


def asked_for(walk: Walk) -> list[str]:
    """Return the addresses of region pictures that the browser asks for from now on."""
    urls: list[str] = []
    walk.page.on(
        "request", lambda one: urls.append(one.url) if "/app/regions/" in one.url else None
    )
    return urls


def drawn_pair(app: FrameLocator) -> list[Locator]:
    """Wait until both pictures of the open pair are there, and return them."""
    end = time.monotonic() + PATIENCE_S
    pair = app.locator(".regions[open] img")
    pair.first.scroll_into_view_if_needed()
    while not all(pair.evaluate_all(f"images => images.map({IS_DRAWN})")):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert pair.count() == 2
    return pair.all()


def switch_of(app: FrameLocator, number: int) -> Locator:
    return app.locator(".regions > summary").nth(number)


def test_regions_when_switched_on_by_keyboard_are_computed_once_and_drawn_over_both(
    walk: Walk,
) -> None:
    urls = asked_for(walk)
    app = open_answer(walk)
    switch = switch_of(app, 0)
    assert SWITCH in switch.inner_text()
    assert urls == []  # nothing is computed before somebody asks

    switch.focus()
    walk.page.keyboard.press("Enter")
    images = drawn_pair(app)
    assert len(urls) == 1  # one picture holds both
    for image in images:
        assert 0.02 < image.evaluate(COLOURED) < 0.9
    first, second = (image.get_attribute("alt") or "" for image in images)
    assert first.startswith("This patient")
    assert second.startswith("Case 1")
    assert app.locator(".regions[open] .region-legend svg").is_visible()
    walk.keep("regions")

    walk.page.keyboard.press("Space")
    images[0].wait_for(state="hidden")
    assert walk.complaints == []
    walk.refuse_foreign_hosts()


def test_regions_when_the_session_has_ended_say_so_in_the_pictures_place(walk: Walk) -> None:
    app = open_answer(walk)
    walk.page.context.clear_cookies()
    switch_of(app, 1).click()
    images = drawn_pair(app)  # the words are drawn, no broken picture
    assert all(image.evaluate(COLOURED) == 0 for image in images)
    walk.keep("regions-session-ended")
