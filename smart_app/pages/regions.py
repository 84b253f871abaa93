"""`/app/regions`: the two pictures of a pair, with the regions that make them similar laid over."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from flask import Response, url_for

from cds.domain.errors import CdsError, Reason
from cds.domain.report import Neighbor
from cds.domain.time_limit import TimeLimit
from smart_app.access import clinician_session, current_access, current_session, keep_window
from smart_app.engine_port import app_engine
from smart_app.launch.clinician_session import study_of
from smart_app.pages.errors import page_blueprint
from smart_app.pages.study_page import StudyPage

REGION_LIMIT_S = 30.0  # a person waits
QUERY_SIDE, CASE_SIDE = "query", "case"

region_pages = page_blueprint("regions", __name__)
region_pages.url_defaults(keep_window)


class RegionUrls(NamedTuple):
    """Where the two pictures of a pair are."""

    query: str
    case: str


@region_pages.get("/app/regions/<any(query, case):side>/<report_id>/<case_id>/<picture_id>")
@clinician_session
def regions(side: str, report_id: str, case_id: str, picture_id: str) -> Response:
    """Return one picture of a pair that this session's page showed; each view is logged."""
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
        (case_id, picture_id),
        who=session.who,
        deadline=TimeLimit(REGION_LIMIT_S),
    )
    return png_response(pictures.query_png if side == QUERY_SIDE else pictures.case_png)


def region_links(page: StudyPage) -> Callable[[Neighbor], RegionUrls | None]:
    """Return what gives the addresses of a pair; None where a picture is missing."""

    def links(neighbor: Neighbor) -> RegionUrls | None:
        if (
            page.answer is None
            or not page.shows_query_picture
            or neighbor.picture_id is None
            or neighbor.image_similarity is None
        ):
            return None
        return RegionUrls(
            *(
                url_for(
                    "regions.regions",
                    side=side,
                    report_id=page.answer.report.report_id,
                    case_id=neighbor.case_id,
                    picture_id=neighbor.picture_id,
                )
                for side in (QUERY_SIDE, CASE_SIDE)
            )
        )

    return links


def png_response(content: bytes) -> Response:
    """Return a picture that no cache keeps and no other origin may embed."""
    response = Response(content, content_type="image/png")
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response
