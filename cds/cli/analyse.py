"""`precedent analyse`: analyse a study now, with our own token, as if it had just arrived."""

from __future__ import annotations

import argparse
import sys

from cds.arrival.study_analysis import ArrivalOutcome, StudyRequest, registered
from cds.domain.errors import CdsError, Reason
from cds.domain.job import Work
from cds.engine import engine_from_settings
from cds.settings import settings_from_environment

EXIT_NOT_ANALYSED = 1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "analyse", help="analyse a study before anyone asks", description=__doc__
    )
    parser.add_argument("--ehr", required=True, metavar="ID", help="registered EHR")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--study", metavar="UID", help="Study Instance UID")
    which.add_argument("--accession", metavar="N", help="accession number")
    which.add_argument("--patient", metavar="ID", help="FHIR id; takes the newest supported study")
    parser.add_argument("--queue", action="store_true", help="leave it to a worker")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Analyse the study and print what became of it, without anything of the patient.

    Raises
    ------
    CdsError
        What `ArrivalAnalysis.analyse` and the engine raise.

    """
    engine = engine_from_settings(settings_from_environment())
    background = engine.background
    registration = registered(engine.registrations, arguments.ehr)
    arrivals = background.arrivals(engine.analyst)
    request = StudyRequest(arguments.study, arguments.accession, is_asked_for=True)
    if arguments.patient is not None:
        request = arrivals.newest_of(registration, arguments.patient)
    if arguments.queue:
        job = background.queue.submit(request.job(arguments.ehr, Work.INTERACTIVE))
        sys.stdout.write(f"Queued as {job.job_id}.\n")
        return 0
    outcome = arrivals.analyse(registration, request)
    sys.stdout.write(f"{_sentence(outcome)}\n")
    return 0 if outcome.analysis is not None else EXIT_NOT_ANALYSED


def _sentence(outcome: ArrivalOutcome) -> str:
    if outcome.passed_over is not None:
        return f"Not analysed: {outcome.passed_over}"
    if outcome.deferral is not None:
        wait_s = round(outcome.deferral.delay.total_seconds())
        return f"Not analysed yet: {outcome.deferral.reason} Ask again in {wait_s} s, or --queue."
    if outcome.analysis is None:
        raise CdsError(Reason.NO_IMAGING, "There is no study to analyse.")
    report = outcome.analysis.report
    if report is None:
        return "Not compared: a human report exists already, or the image module is off."
    return f"{report.state.value}: answer {report.report_id}. {report.priority_sentence}"
