"""`precedent serve`: the three doors, under gunicorn with preloaded workers.

Put a reverse proxy with TLS before it. SIGTERM ends it when the calls under way are answered.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

from cds.cli.argument_types import at_least_one, listening_address
from cds.engine.installation_files import refuse_plain_volume
from cds.settings import settings_from_environment
from cds.web.bind import check_bind

SETTINGS = "python:cds.web.serving"
EVERYTHING, MACHINES = "smart_app.wsgi:app", "cds.web.wsgi:app"
DEFAULT_BIND = "127.0.0.1:8000"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "serve",
        help="serve the three doors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bind", type=listening_address, default=DEFAULT_BIND, metavar="HOST:PORT")
    parser.add_argument(
        "--workers", type=at_least_one, default=max(2, os.cpu_count() or 1), metavar="N"
    )
    parser.add_argument(
        "--machines-only", action="store_true", help="hooks and FHIR API, without the pages"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> NoReturn:
    """Check what would stop the server, then become it.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if a setting is wrong, the installation was not initialised, the
        address is not permitted or real data lies on a plain volume.

    """
    settings = settings_from_environment()
    check_bind(settings, arguments.bind)
    refuse_plain_volume(settings)
    os.execv(sys.executable, server_command(arguments))  # noqa: S606  # our own interpreter


def server_command(arguments: argparse.Namespace) -> list[str]:
    """Return the command line of the server."""
    return [
        *(sys.executable, "-m", "gunicorn", "--config", SETTINGS, "--no-control-socket"),
        *("--bind", arguments.bind, "--workers", str(arguments.workers)),
        MACHINES if arguments.machines_only else EVERYTHING,
    ]
