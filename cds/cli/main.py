"""The console script `precedent`: finds the command, runs it, turns refusals into sentences."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec

from cds.domain.errors import CdsError

EXIT_REFUSED = 2
EXIT_UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


@dataclass(frozen=True, slots=True)
class Command:
    """A command and the module whose ``add_parser(subparsers)`` adds it."""

    name: str
    module: str
    summary: str


COMMANDS = (
    Command("analyse", "cds.cli.analyse", "analyse a study before anyone asks"),
    Command("arrivals", "cds.cli.arrivals", "say which arriving studies are analysed"),
    Command("demo", "cds.cli.demo", "start the hospital in a box with a ready library"),
    Command("doctor", "cds.cli.doctor", "check an installation line by line"),
    Command("ehr", "cds.cli.ehr", "register EHRs"),
    Command("init", "cds.cli.init", "make the state folder, the key and the database"),
    Command("jobs", "cds.cli.jobs", "look at background jobs and dead letters"),
    Command("library", "cds.cli.library", "import a case library and look at it"),
    Command("match", "cds.cli.match", "rank the library's cases by likeness to a picture"),
    Command("models", "cds.cli.models", "train, evaluate, compare and roll out encoders"),
    Command("results", "cds.cli.results", "list withdrawn answers and who saw them"),
    Command("serve", "cds.cli.serve", "serve the three doors"),
    Command("worker", "cds.cli.worker", "run background jobs"),
)


def available_commands() -> tuple[Command, ...]:
    """Return the commands that this installation has."""
    return tuple(command for command in COMMANDS if find_spec(command.module) is not None)


def build_parser(wanted: str | None) -> argparse.ArgumentParser:
    """Return the parser; only the module of the wanted command is imported.

    Parameters
    ----------
    wanted
        First argument of the command line; anything else than a command's name lists them all.

    """
    parser = argparse.ArgumentParser(
        prog="precedent",
        description="Similar-case decision support. Investigational: not for clinical use.",
    )
    parser.add_argument(
        "--version", action="version", version=f"precedent {version('precedent-cds')}"
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in available_commands():
        if command.name == wanted:
            import_module(command.module).add_parser(subparsers)
        else:
            subparsers.add_parser(command.name, help=command.summary)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parsed = build_parser(arguments[0] if arguments else None).parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except CdsError as error:
        sys.stderr.write(f"precedent: {error.sentence}\n")
        return EXIT_REFUSED
    except KeyboardInterrupt:
        sys.stderr.write("precedent: interrupted; run the same command again to go on.\n")
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the outermost boundary of a command
        sys.stderr.write(unexpected(error))
        return EXIT_UNEXPECTED


def unexpected(error: Exception) -> str:
    """Return what is said of an error that nobody foresaw: its class and its places.

    Its own text, and those of what led to it, may hold the name or number of a patient (SAFETY
    R-HIP-6): a terminal's output ends in tickets and mails.
    """
    frames = traceback.extract_tb(error.__traceback__)
    places = "".join(f"  {f.filename}:{f.lineno} in {f.name}\n" for f in frames)
    return (
        f"precedent: something unexpected happened ({type(error).__name__}). Its text is withheld, "
        f"since it may name a patient; tell the maintainers these places:\n{places}"
    )
