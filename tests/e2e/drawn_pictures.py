"""Whether pictures on a page have really been decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import FrameLocator


def pictures_are_drawn(app: FrameLocator) -> int:
    """Return how many pictures the page shows; each has really been decoded."""
    pictures = app.locator("main img:visible")
    pictures.first.wait_for()
    n_pictures = pictures.count()
    for index in range(n_pictures):
        picture = pictures.nth(index)
        picture.scroll_into_view_if_needed()
        picture.evaluate("image => image.decode()")
        assert picture.evaluate("image => image.naturalWidth") > 1
    return n_pictures
