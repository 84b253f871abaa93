"""The application for a WSGI server: ``gunicorn smart_app.wsgi:app``."""

from __future__ import annotations

from cds.engine import engine_from_settings
from cds.settings import settings_from_environment
from cds.web.logs import configure_logging
from smart_app.application import create_app

settings = settings_from_environment()
configure_logging(settings.log_level)
engine = engine_from_settings(settings)
engine.open_index()
app = create_app(engine)
