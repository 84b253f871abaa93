"""`precedent ehr`: register EHRs, and check that everything talks to everything."""

from __future__ import annotations

import argparse

from cds.cli import ehr_check, ehr_keys, ehr_register, ehr_show


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command with its own commands."""
    parser = subparsers.add_parser("ehr", help="register EHRs", description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    ehr_register.add_parsers(commands)
    ehr_show.add_parsers(commands)
    ehr_keys.add_parser(commands)
    ehr_check.add_parser(commands)
