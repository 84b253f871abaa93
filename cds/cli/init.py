"""`precedent init`: make the state folder, the key file and the database."""

from __future__ import annotations

import argparse

from rich.console import Console

from cds.adapters.storage import initialise
from cds.settings import settings_from_environment


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "init", help="make the state folder, the key and the database", description=__doc__
    )
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Make what is missing; what is there already stays as it is.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION as `cds.adapters.storage.initialise`.

    """
    settings = settings_from_environment()
    initialise(settings)
    console = Console()
    console.print(f"State folder: {settings.state_dir}")
    console.print(f"Key file: {settings.effective_key_file} (keep a backup apart from the data)")
    console.print("Database: ready.")
    return 0
