"""What the product is for and what it is not: one click from every page (SAFETY R-FDA-4)."""

from __future__ import annotations

from flask import Response, request, url_for

from cds.domain.source_attributes import REGULATION
from cds.web.access import public
from cds.web.wire import PLAIN_JSON, json_response
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
    """Return the source attributes of the image model in force, as page or JSON, as asked for."""
    wanted = request.accept_mimetypes.best_match(["text/html", PLAIN_JSON], default="text/html")
    if wanted == PLAIN_JSON:
        response = model_card_as_data()
    else:
        response = page_response(
            "model_card.html",
            card=app_engine().source_attributes(),
            regulation=REGULATION,
            text=app_engine().model_card(),
        )
    response.vary.add("Accept")
    return response


@about_pages.get("/model-card.json")
@public
def model_card_as_data() -> Response:
    """Return the source attributes of the image model in force as JSON (SAFETY R-DSI-1)."""
    return json_response(app_engine().source_attributes().to_json())


@about_pages.get("/")
@public
def front() -> Response:
    """Lead a person who opens the bare address to the explanation."""
    return Response(status=303, headers={"Location": url_for("about.about")})
