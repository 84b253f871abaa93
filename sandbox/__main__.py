"""Serve a sandbox hospital on the loopback interface: ``python -m sandbox``."""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug.serving import WSGIRequestHandler, make_server

from sandbox.web.application import create_app, open_hospital
from sandbox.web.places import Places, SharedSecrets

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOPBACK = "127.0.0.1"
PRIVATE_MODE = 0o600


class QuietHandler(WSGIRequestHandler):
    """Keeps connections open and writes no line per request: addresses hold patient ids."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options and serve until interrupted."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    places = Places(
        base_url=f"http://localhost:{options.port}",
        app_url=options.app_url.rstrip("/"),
        ehr_id=options.ehr_id,
    )
    try:
        shared = read_secrets(options.secrets or options.data / "secrets.json")
        hospital = open_hospital(options.data, places, shared)
    except FileNotFoundError as error:
        print(f"{error} Write them with: python -m sandbox.generator --out DIR", file=sys.stderr)
        return 2
    # A port in use ends the program here: werkzeug says so itself.
    server = make_server(
        LOOPBACK, options.port, create_app(hospital), threaded=True, request_handler=QuietHandler
    )
    print(f"The sandbox EHR is at {places.base_url}/", flush=True)
    server.serve_forever()  # ends quietly when interrupted
    return 0


def read_secrets(path: Path) -> SharedSecrets:
    """Return the secrets in a file; without one they are made, and kept for the owner alone."""
    if not path.is_file():
        made = {name: secrets.token_urlsafe(32) for name in ("client_secret", "session_key")}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=PRIVATE_MODE)
        path.write_text(json.dumps(made | {"pacs_password": secrets.token_urlsafe(32)}))
    return SharedSecrets(**json.loads(path.read_text(encoding="utf-8")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="what the generator wrote as tryout/",
    )
    parser.add_argument("--app-url", default="http://127.0.0.1:8000", help="the product's origin")
    parser.add_argument("--ehr-id", default="st-brevis", help="the product's name for this EHR")
    parser.add_argument(
        "--secrets",
        type=Path,
        metavar="FILE",
        help="JSON; default DIR/secrets.json, made if absent",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
