"""`/app/regions`: the two pictures of a pair, with the regions that make them similar laid over.

One picture holds both, and the page shows its left and its right half: a browser asks for it once,
so that it is computed once, and nothing is kept between two requests.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from flask import Response, render_template, request, url_for

from cds.domain.errors import CdsError, Reason
from cds.domain.region_pair import RegionPair
from cds.domain.report import Neighbor
from cds.domain.time_limit import TimeLimit
from smart_app.access import clinician_session, current_access, current_session, keep_window
from smart_app.engine_port import app_engine
from smart_app.launch.clinician_session import study_of
from smart_app.pages.errors import page_blueprint, refusal_page
from smart_app.pages.study_page import StudyPage

REGION_LIMIT_S = 30.0  # a person waits
LINE_CHARACTERS = 40  # of the words that stand in a picture's place

region_pages = page_blueprint("regions", __name__)
region_pages.url_defaults(keep_window)


@region_pages.get("/app/regions/<report_id>/<case_id>/<picture_id>")
@clinician_session
def regions(report_id: str, case_id: str, picture_id: str) -> Response:
    """Return both pictures of a pair that this window showed, in one PNG; each view is logged."""
    session = current_session()
    shown = session.shown_report(report_id)
    if (
        shown is None
        or shown.study is None
        or not shown.has_query_picture
        or (case_id, picture_id) not in shown.pictures
    ):
        raise CdsError(Reason.NOT_FOUND, "This pair is not part of what this window shows.")
    pictures = app_engine().region_pictures(
        current_access(),
        study_of(shown.study),
        RegionPair(report_id, case_id, picture_id),
        who=session.who,
        deadline=TimeLimit(REGION_LIMIT_S),
    )
    return png_response(pictures.png)


def region_link(page: StudyPage) -> Callable[[Neighbor], str | None]:
    """Return what gives the address of a pair; None where a picture is missing."""

    def link(neighbor: Neighbor) -> str | None:
        if (
            page.answer is None
            or not page.shows_query_picture
            or neighbor.picture_id is None
            or neighbor.image_similarity is None
        ):
            return None
        return url_for(
            "regions.regions",
            report_id=page.answer.report.report_id,
            case_id=neighbor.case_id,
            picture_id=neighbor.picture_id,
        )

    return link


def png_response(content: bytes) -> Response:
    """Return a picture that no cache keeps and no other origin may embed."""
    response = Response(content, content_type="image/png")
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


def refusal_in_place(error: CdsError) -> Response:
    """Return a refusal as a picture of its words where a page's picture was asked for.

    A browser shows it in the picture's place, whatever the status. An address that is opened by
    itself gets the page of the refusal.
    """
    page = refusal_page(error)
    asked_for = [kind for kind, _ in request.accept_mimetypes]
    if "text/html" in asked_for or not any(kind.startswith("image/") for kind in asked_for):
        return page
    words = render_template(
        "regions_refused.svg", lines=textwrap.wrap(error.sentence, LINE_CHARACTERS)
    )
    response = Response(words, status=page.status_code, content_type="image/svg+xml")
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


region_pages.register_error_handler(CdsError, refusal_in_place)
