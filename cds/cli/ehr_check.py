"""`precedent ehr check`: every connection step by step, then the readiness report.

Without a test patient nobody's record is read. With one or more, their records and newest films are
read as the product reads them, and only counts are printed. The exit status is 1 if a line is FAIL.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from cds.adapters.probes.connection_check import CheckTools, ConnectionCheck
from cds.adapters.probes.readiness_report import ReadinessFacts, readiness_report
from cds.adapters.probes.site_history import site_history
from cds.adapters.registration_file import secret_from_file
from cds.adapters.storage import SystemClock, open_storage
from cds.domain.check_line import CheckLine, Verdict, has_failed
from cds.domain.errors import CdsError, Reason
from cds.settings import settings_from_environment

EXIT_FAILED = 1
NAME_WIDTH = 32
_STYLES = {
    Verdict.PASS: "green",
    Verdict.WARN: "yellow",
    Verdict.FAIL: "bold red",
    Verdict.UNKNOWN: "dim",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "check",
        help="test every connection to an EHR, and print its readiness report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ehr_id", metavar="ID")
    parser.add_argument(
        "--test-patient", action="append", default=[], metavar="FHIR-ID", help="may be repeated"
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="an access token to use instead of our own"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check one EHR.

    Raises
    ------
    CdsError
        NOT_FOUND if it is not registered; INVALID_CONFIGURATION if its registration cannot be
        used; INVALID_REQUEST if the token file cannot.

    """
    settings = settings_from_environment()
    clock = SystemClock()
    storage = open_storage(settings, clock)
    registration = storage.registrations.by_id(arguments.ehr_id)
    if registration is None:
        raise CdsError(Reason.NOT_FOUND, f"No EHR {arguments.ehr_id} is registered.")
    token = secret_from_file(arguments.token_file) if arguments.token_file else None
    tools = CheckTools(
        keys=storage.backend_keys,
        clock=clock,
        development=settings.development,
        public_url=settings.public_url,
        ca_file=settings.ca_file,
    )
    findings = ConnectionCheck(registration, tools).run(arguments.test_patient, token=token)
    report = readiness_report(
        ReadinessFacts(
            registration=registration,
            findings=findings,
            history=site_history(storage.engine, registration.ehr_id),
            public_url=settings.public_url,
            now=clock.now(),
        )
    )
    storage.engine.dispose()
    console = Console(soft_wrap=True, highlight=False)
    if arguments.json:
        document = {
            "ehr_id": registration.ehr_id,
            "connections": [line.to_json() for line in findings.lines],
            "readiness": [line.to_json() for line in report],
        }
        console.print_json(json.dumps(document))
    else:
        console.print(f"Connections of {registration.ehr_id}\n", markup=False)
        print_lines(console, findings.lines)
        console.print("\nReadiness report\n")
        print_lines(console, report)
    return EXIT_FAILED if has_failed((*findings.lines, *report)) else 0


def print_lines(console: Console, lines: Iterable[CheckLine]) -> None:
    """Print each line, with what to do below it."""
    for line in lines:
        console.print(f"{line.verdict.value:8}", style=_STYLES[line.verdict], end="")
        console.print(f"{line.name:{NAME_WIDTH}} {line.evidence}", markup=False)
        if line.action:
            console.print(f"{'':8}{'':{NAME_WIDTH}} -> {line.action}", markup=False)
