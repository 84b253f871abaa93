"""What the product is for and what it is not: one click from every page (SAFETY R-FDA-4)."""

from __future__ import annotations

from flask import Response, url_for

from cds.web.access import public
from smart_app.engine_port import app_engine
from smart_app.pages.errors import page_blueprint, page_response

about_pages = page_blueprint("about", __name__)


@about_pages.get("/about")
@public
def about() -> Response:
    """Return intended use, users, inputs, method, limits and versions."""
    engine = app_engine()
    return page_response("about.html", library_name=engine.settings.library_name)


@about_pages.get("/model-card")
@public
def model_card() -> Response:
    """Return the card of the image model in force, as its makers wrote it."""
    return page_response("model_card.html", text=app_engine().model_card())


@about_pages.get("/")
@public
def front() -> Response:
    """Lead a person who opens the bare address to the explanation."""
    return Response(status=303, headers={"Location": url_for("about.about")})
