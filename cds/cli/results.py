"""`precedent results withdrawn`: answers that no longer hold, why, and who was shown them."""

from __future__ import annotations

import argparse
import json
import sys

from cds.arrival.study_analysis import registered
from cds.engine import engine_from_settings
from cds.settings import settings_from_environment


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its action."""
    parser = subparsers.add_parser(
        "results", help="list withdrawn answers and who saw them", description=__doc__
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    withdrawn = actions.add_parser("withdrawn", help="list withdrawn answers and who saw them")
    withdrawn.add_argument("--ehr", required=True, metavar="ID")
    withdrawn.add_argument("--json", action="store_true", help="print JSON for machines")
    withdrawn.set_defaults(run=list_withdrawn)


def list_withdrawn(arguments: argparse.Namespace) -> int:
    """Print each withdrawn answer with the users who were shown it; no patient is named.

    Raises
    ------
    CdsError
        INVALID_REQUEST if no such EHR is registered and none of its answers was withdrawn.

    """
    engine = engine_from_settings(settings_from_environment())
    lives = engine.background.lives
    found = [
        (report, report.withdrawn, lives.seen_by(report.ehr_id, report.report_id))
        for report in lives.withdrawn(arguments.ehr)
        if report.withdrawn is not None
    ]
    if not found:
        registered(engine.registrations, arguments.ehr)  # a misspelt id is no good news
    if arguments.json:
        facts = [
            {
                "answer": report.report_id,
                "withdrawn_at": withdrawn.noticed_at.isoformat(),
                "because": withdrawn.reason.value,
                "seen_by": [
                    {"who": one.viewer, "door": one.door, "at": one.seen_at.isoformat()}
                    for one in seen
                ],
            }
            for report, withdrawn, seen in found
        ]
        sys.stdout.write(json.dumps(facts, indent=1) + "\n")
        return 0
    for report, withdrawn, seen in found:
        at = withdrawn.noticed_at.isoformat()
        sys.stdout.write(f"{report.report_id}: {withdrawn.reason.value}, noticed {at}\n")
        for one in seen:
            sys.stdout.write(f"  {one.viewer} ({one.door}, {one.seen_at.isoformat()})\n")
        if not seen:
            sys.stdout.write("  shown to nobody\n")
    sys.stdout.write(f"{len(found)} answers were withdrawn.\n")
    return 0
