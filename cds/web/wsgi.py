"""The machine doors as a service of their own: ``gunicorn cds.web.wsgi:app``.

`app` is made when it is first asked for, so that importing this module reads no environment.
"""

from __future__ import annotations

from functools import cache

from flask import Flask

from cds.engine import engine_from_settings
from cds.settings import settings_from_environment
from cds.web.application import create_app
from cds.web.logs import configure_logging


@cache
def application() -> Flask:
    """Return the application that the environment's settings describe.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if a setting is wrong or the installation was not initialised;
        MODEL_UNAVAILABLE if the encoder is missing or was changed.

    """
    settings = settings_from_environment()
    configure_logging(settings.log_level)
    engine = engine_from_settings(settings)
    engine.open_index()
    return create_app(engine)


def __getattr__(name: str) -> Flask:
    if name == "app":
        return application()
    raise AttributeError(name)
