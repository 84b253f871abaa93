"""`precedent models evaluate`: how good an encoder is on labelled pictures, as a report."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cds.cli import models_pictures
from cds.domain.errors import CdsError, Reason
from cds.settings import settings_from_environment

if TYPE_CHECKING:
    from models.evaluation.encoding import Encoder
    from models.evaluation.evaluation import Evaluation

DEFAULT_FOLDER = Path("evaluation")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "evaluate", help="measure an encoder and write a report", description=__doc__
    )
    parser.add_argument(
        "encoder",
        nargs="?",
        help="encoder folder, or the shipped one by name; default: the installed one",
    )
    parser.add_argument(
        "--baseline",
        type=Path,
        help="what to compare with: a bare ONNX file (the frozen start) or an encoder folder",
    )
    models_pictures.add_arguments(parser)
    parser.add_argument(
        "--probe", action="store_true", help="also fit a linear probe (takes minutes)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=DEFAULT_FOLDER,
        help="folder for report.html, report.pdf and report.json (evaluation)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure the encoder, write the report and print what is in it.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION without the extra `evaluate`, or if the folder cannot be written;
        INVALID_REQUEST if the pictures are not understood; MODEL_UNAVAILABLE without an encoder.

    """
    from models.evaluation.encoding import open_baseline, open_encoder
    from models.evaluation.evaluation import evaluate
    from models.evaluation.figure_style import refuse_without_plots

    refuse_without_plots()
    console = Console()
    encoder = open_encoder(arguments.encoder or installed_encoder())
    with models_pictures.opened_pictures(arguments) as source:
        encoders: list[Encoder] = [source.with_stored_vectors(encoder)]
        if arguments.baseline is not None:
            encoders.append(open_baseline(arguments.baseline, encoder))
        data, subjects = models_pictures.measured_pictures(
            source, encoders, arguments.classes, console
        )
    found = evaluate(
        data,
        subjects[0],
        subjects[1] if len(subjects) > 1 else None,
        models_pictures.settings_of(arguments, with_probe=arguments.probe),
        say=lambda stage: console.print(f"Measuring: {stage}", highlight=False),
    )
    write_report(found, arguments.out, made_at=datetime.now(UTC))
    print_evaluation(found, console)
    console.print(f"\nReport: {arguments.out / 'report.html'}", highlight=False, soft_wrap=True)
    return 0


def installed_encoder() -> str:
    """Return the folder of the encoder that this installation uses."""
    from models.shipped import shipped_encoder

    return str(settings_from_environment().encoder_dir or shipped_encoder())


def write_report(found: Evaluation, folder: Path, *, made_at: datetime) -> None:
    """Write report.json, report.html and report.pdf.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if the folder cannot be written.

    """
    from models.evaluation.plots import figures_of
    from models.evaluation.report_document import report_document
    from models.evaluation.report_html import report_html
    from models.evaluation.report_pdf import report_pdf

    time = made_at.isoformat(timespec="seconds")
    values = json.dumps({**found.to_json(), "made_at": time}, indent=1, allow_nan=False)
    document = report_document(found, figures_of(found), made_at=time)
    contents = {
        "report.json": f"{values}\n".encode(),
        "report.html": report_html(document).encode(),
        "report.pdf": report_pdf(document),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            f"The report cannot be written to {folder}: {(error.strerror or 'refused').lower()}.",
        ) from None


def print_evaluation(found: Evaluation, console: Console) -> None:
    """Print the main table and the sentences of the summary."""
    from models.evaluation.report_document import measure_cells, summary_sentences

    for title, measures in (
        ("Retrieval", found.retrieval),
        *((one.method, one.measures) for one in found.classifiers),
    ):
        head, rows = measure_cells(found, measures)
        console.print(measure_table(title, head, rows))
    for sentence in (*found.training_notes, *summary_sentences(found), *found.notes):
        console.print(f"- {sentence}", highlight=False, markup=False)


def measure_table(title: str, head: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> Table:
    """Return a table for the terminal."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for number, name in enumerate(head):
        table.add_column(name, no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    return table
