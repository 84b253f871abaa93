"""The whole product as one Flask application: the clinicians' door on top of the machine doors."""

from __future__ import annotations

from flask import Blueprint, Flask

from cds.web.access import declare, public
from cds.web.application import create_app as create_machine_app
from smart_app.engine_port import LaunchEngine
from smart_app.launch.views import launch_pages
from smart_app.pages.about import about_pages
from smart_app.pages.regions import region_pages
from smart_app.pages.study import study_pages
from smart_app.pages.upload import upload_pages


def create_app(engine: LaunchEngine) -> Flask:
    """Return the application around a built engine; nothing is read from the environment.

    Every endpoint of the pages declares its access policy; one that does not is closed by
    `cds.web.access`.
    """
    app = create_machine_app(engine)
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    for blueprint in (launch_pages, study_pages, region_pages, upload_pages, about_pages):
        app.register_blueprint(blueprint)
    assets = Blueprint(
        "assets",
        __name__,
        template_folder="templates",
        static_folder="assets",
        static_url_path="/assets",
    )
    app.register_blueprint(assets)
    declare(app, "assets.static", public)
    return app
