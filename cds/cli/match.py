"""`precedent match PICTURE`: the most similar past cases as a table, or as JSON for machines."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cds.cli.argument_types import at_least_one
from cds.domain import wording
from cds.domain.dates import birth_date_at_age
from cds.domain.errors import CdsError, Reason
from cds.domain.facts import Measurement, SetAside
from cds.domain.lab_catalogue import normalise
from cds.domain.patient import ClinicalContext, Demographics
from cds.domain.query import BlockWeights, CaseQuery
from cds.domain.report import AnswerState, CaseReport, Neighbor
from cds.engine import Engine, engine_from_settings
from cds.settings import settings_from_environment

SHOWN_NEIGHBORS = 10
_RECORD_MEMBERS = frozenset({"age", "sex", "labs"})


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "match", help="rank the library's cases by likeness to a picture", description=__doc__
    )
    parser.add_argument("picture", type=Path, help="DICOM, JPEG or PNG file")
    parser.add_argument(
        "--labs",
        type=Path,
        help='JSON file: {"age": 67, "sex": "male", "labs": '
        '[{"code": "1988-5", "value": 165, "unit": "mg/L"}]}; codes are LOINC, units UCUM',
    )
    parser.add_argument("--patient", help="the patient's number in the library, never matched")
    parser.add_argument("--collection", default="", help="the collection of that number")
    parser.add_argument("--view", choices=["PA", "AP"], help="view, where the file does not say")
    parser.add_argument(
        "--cutoff", type=at_least_one, help="how many distinct patients to count at most"
    )
    parser.add_argument(
        "--keep-copies",
        action="store_true",
        help="rank copies of the picture too instead of excluding them",
    )
    parser.add_argument(
        "--encoder", metavar="NAME", help="an encoder with an index, instead of the serving one"
    )
    parser.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare the picture and print the answer.

    Raises
    ------
    CdsError
        INVALID_REQUEST if a file cannot be read; what the engine raises.

    """
    engine = engine_from_settings(settings_from_environment())
    encoders = engine.encoders
    parts = encoders.named(arguments.encoder) if arguments.encoder else encoders.serving()
    report = parts.analyst.for_pictures(_query(engine, arguments))
    if arguments.json:
        sys.stdout.write(json.dumps(asdict(report), default=str, indent=1) + "\n")
    else:
        print_report(report, Console(), copies_kept=arguments.keep_copies)
    return 0


def record_from_json(text: str, *, as_of: datetime) -> ClinicalContext:
    """Read the record that goes with a picture.

    Parameters
    ----------
    text
        JSON object with the optional members ``age`` (years), ``sex`` (FHIR administrative gender)
        and ``labs`` (objects with ``code``, ``value``, ``unit``), taken at the film.
    as_of
        Aware UTC time of the film.

    Raises
    ------
    CdsError
        INVALID_REQUEST if it is not such an object.

    """
    try:
        document: dict[str, Any] = json.loads(text)
        age, sex = document.get("age"), str(document.get("sex", "unknown"))
        labs = [
            normalise(str(entry["code"]), float(entry["value"]), entry.get("unit"))
            for entry in document.get("labs", [])
        ]
        born = birth_date_at_age(int(age), as_of) if age is not None else None
        is_read = bool(document) and document.keys() <= _RECORD_MEMBERS
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CdsError(
            Reason.INVALID_REQUEST, "The labs file is not as `precedent match --help` describes it."
        ) from None
    if not is_read:
        raise CdsError(
            Reason.INVALID_REQUEST,
            "The labs file holds age, sex and labs and nothing else; see `precedent match --help`.",
        )
    return ClinicalContext(
        demographics=Demographics("cli", birth_on=born, sex=sex),
        read_at=as_of,
        measurements=tuple(lab for lab in labs if isinstance(lab, Measurement)),
        set_aside=tuple(lab for lab in labs if isinstance(lab, SetAside)),
    )


def _query(engine: Engine, arguments: argparse.Namespace) -> CaseQuery:
    as_of = datetime.now(UTC)
    try:
        content = arguments.picture.read_bytes()
        labs = arguments.labs.read_text("utf-8") if arguments.labs else None
    except (OSError, UnicodeDecodeError) as error:
        raise CdsError(
            Reason.INVALID_REQUEST, f"A file cannot be read: {_why_unread(error)}."
        ) from None
    return CaseQuery(
        ehr_id="cli",
        reason="cli",
        as_of=as_of,
        context=record_from_json(labs, as_of=as_of) if labs else None,
        study=None,
        frames=engine.frames_from_file(content, view_position=arguments.view),
        weights=BlockWeights(engine.settings.image_weight),
        cutoff=arguments.cutoff or engine.settings.cutoff,
        keep_copies=arguments.keep_copies,
        own_identifiers=((arguments.collection, arguments.patient),) if arguments.patient else (),
    )


def _why_unread(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "the labs file is not UTF-8 text"
    return (error.strerror or "it cannot be opened").lower()


def print_report(report: CaseReport, console: Console, *, copies_kept: bool = False) -> None:
    """Print an answer for a person, in the order of the app page."""
    console.print(wording.header(report.library_name), style="dim")
    console.print()
    for sentence in (report.abstention, report.compared_part, report.composition_guard):
        if sentence is not None:
            console.print(sentence, style="bold")
    if report.already_in_library:
        fate = "ranked as well" if copies_kept else "excluded"
        console.print(f"This picture, or a copy of it, is already in the library; {fate}.")
    if report.state is AnswerState.COMPARED:
        console.print(_table(report))
    findings = [statement.sentence for statement in report.findings]
    outcomes = [statement.sentence for statement in report.outcomes]
    for sentence in (*findings, *outcomes, *report.states_at_film):
        console.print(f"- {sentence}")
    console.print()
    console.print(f"Used: {'; '.join(report.inputs_used) or 'nothing'}.")
    for aside in report.set_aside:
        console.print(f"Set aside: {aside.display} {aside.text} ({aside.reason}).")
    console.print(report.priority_sentence)
    console.print(_versions_line(report), style="dim")


def _versions_line(report: CaseReport) -> str:
    versions = report.versions
    return (
        f"Encoder {versions.encoder_name} ({versions.encoder_hash[:12]}), index "
        f"{versions.index_generation}, {report.n_eligible} eligible of "
        f"{report.n_library_patients} patients."
    )


def _table(report: CaseReport) -> Table:
    title = f"{report.n_neighbors} past patients; the nearest {SHOWN_NEIGHBORS}"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("#", "together", "picture", "record", "case"):
        table.add_column(column, no_wrap=column != "record")
    for column in ("patient, view", "recorded findings", "outcome"):
        table.add_column(column, overflow="fold")
    for neighbor in report.neighbors[:SHOWN_NEIGHBORS]:
        findings = ", ".join(
            f.coding.display + ("" if f.proof == "unknown" else f" ({f.proof})")
            for f in neighbor.findings
        )
        table.add_row(
            str(neighbor.rank),
            f"{neighbor.similarity:.3f}",
            _figure(neighbor.image_similarity),
            _record_figure(neighbor),
            neighbor.case_id[:10],
            f"{neighbor.age_band}, {neighbor.sex}, {neighbor.view}",
            ("counter-example: " if neighbor.is_counter_example else "") + findings,
            "; ".join(neighbor.outcomes) or "not recorded",
        )
    return table


def _figure(similarity: float | None) -> str:
    return "-" if similarity is None else f"{similarity:.3f}"


def _record_figure(neighbor: Neighbor) -> str:
    """Return the agreement of the record, and how much of the record both sides have."""
    if neighbor.record_similarity is None or neighbor.record_share is None:
        return "-"
    return f"{neighbor.record_similarity:.2f} over {neighbor.record_share:.0%}"
