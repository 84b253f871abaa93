"""`precedent worker`: run background jobs until SIGTERM, which lets running jobs finish."""

from __future__ import annotations

import argparse
import signal

from cds.cli.argument_types import at_least_one
from cds.engine import engine_from_settings
from cds.settings import settings_from_environment
from cds.web.logs import configure_logging

EXIT_UNCLEAN = 1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("worker", help="run background jobs", description=__doc__)
    parser.add_argument(
        "--threads", type=at_least_one, help="jobs at a time (PRECEDENT_WORKER_THREADS)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Work until told to stop; 1 if a job did not finish in time and is left to another worker.

    Raises
    ------
    CdsError
        What the engine raises.

    """
    settings = settings_from_environment()
    configure_logging(settings.log_level)
    engine = engine_from_settings(settings)
    engine.prepare_worker()
    threads = arguments.threads or settings.worker_threads
    worker = engine.background.worker(lambda: engine.analyst, n_threads=threads)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: worker.stop())
    return 0 if worker.run() else EXIT_UNCLEAN
