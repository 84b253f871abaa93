"""`precedent library ...`: the commands about the case library."""

from __future__ import annotations

import argparse

from cds.cli import library_erase, library_import, library_index, library_stats


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group with its commands."""
    group = subparsers.add_parser(
        "library", help="import a case library and look at it", description=__doc__
    )
    commands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (library_import, library_index, library_stats, library_erase):
        module.add_parser(commands)
