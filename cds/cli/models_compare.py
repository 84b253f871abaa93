"""`precedent models compare A B`: two encoders on the same queries, with paired intervals."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cds.cli import models_pictures
from cds.cli.models_evaluate import measure_table
from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from models.evaluation.paired import PairedComparison


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "compare", help="compare two encoders query by query", description=__doc__
    )
    parser.add_argument("a", help="encoder folder, or the shipped one by name")
    parser.add_argument("b", help="the same, or a bare ONNX file, which sees A's pictures")
    models_pictures.add_arguments(parser)
    parser.add_argument("--out", type=Path, help="write the comparison to this JSON file")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare the two and print the table.

    Raises
    ------
    CdsError
        INVALID_REQUEST if the pictures are not understood; MODEL_UNAVAILABLE without an encoder;
        INVALID_CONFIGURATION if the file cannot be written.

    """
    from models.evaluation.encoding import open_baseline, open_encoder
    from models.evaluation.paired import compared
    from models.shipped import SHIPPED_ENCODER_NAME

    console = Console(stderr=arguments.json)
    a = open_encoder(arguments.a)
    is_shipped = arguments.b == SHIPPED_ENCODER_NAME
    b = open_encoder(arguments.b) if is_shipped else open_baseline(Path(arguments.b), a)
    with models_pictures.opened_pictures(arguments) as source:
        data, (of_a, of_b) = models_pictures.measured_pictures(
            source, [source.with_stored_vectors(a), b], arguments.classes, console
        )
    settings = models_pictures.settings_of(arguments, with_probe=False)
    found = compared(data, of_a, of_b, settings)
    text = json.dumps(found.to_json(), indent=1, allow_nan=False)
    if arguments.out is not None:
        _write(arguments.out, text)
    if arguments.json:
        Console(soft_wrap=True, highlight=False).print_json(text)
    else:
        print_comparison(found, console)
    return 0


def print_comparison(found: PairedComparison, console: Console) -> None:
    """Print the tables and the verdict."""
    from models.evaluation.report_document import shown

    console.print(
        f"{found.n_queries} queries of {found.n_query_patients} patients; {found.data_name}.",
        highlight=False,
    )
    console.print(f"A: {found.a_name}. B: {found.b_name}.", highlight=False)
    for title, measures in found.measures.items():
        rows = tuple(
            (one.name, shown(one.estimate), shown(one.baseline), shown(one.gain, sign="+"))
            for one in measures
        )
        console.print(measure_table(title, ("Measure", "A", "B", "A minus B"), rows))
    for sentence in (found.verdict, *found.notes):
        console.print(f"- {sentence}", highlight=False, markup=False)


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            f"The comparison cannot be written: {(error.strerror or 'refused').lower()}.",
        ) from None
