"""`precedent doctor`: check an installation line by line, and say what to do.

It changes nothing (one random picture is written to the blob store and deleted). The exit status is
1 if a line is FAIL.
"""

from __future__ import annotations

import argparse
import json

from rich.console import Console

from cds.adapters.storage import SystemClock
from cds.cli.ehr_check import EXIT_FAILED, print_lines
from cds.domain.check_line import Verdict, has_failed
from cds.engine.installation import check_installation
from cds.settings import process_environment


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="check an installation line by line",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print every line as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check and print; a failing part is a line, not an error of the command."""
    lines = check_installation(process_environment(), SystemClock())
    console = Console(soft_wrap=True, highlight=False)
    if arguments.json:
        console.print_json(json.dumps([line.to_json() for line in lines]))
    else:
        print_lines(console, lines)
        counts = {v: sum(line.verdict is v for line in lines) for v in Verdict}
        told = ", ".join(f"{n} {verdict.value}" for verdict, n in counts.items() if n)
        console.print(f"\n{told}")
    return EXIT_FAILED if has_failed(lines) else 0
