"""`precedent library import`: bring a collection, or a table of your own, into the library."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from cds.adapters.storage import Storage, open_storage
from cds.cli import library_archive
from cds.cli.argument_types import at_least_one
from cds.cli.library_index import rebuild_index
from cds.cli.progress import Steps
from cds.library.import_summary import ImportSummary
from cds.library.sources import FORMATS, SourceRequest, open_source
from cds.settings import Settings, settings_from_environment


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("import", help="import cases", description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, help="folder in a native layout")
    parser.add_argument("--table", type=Path, help="CSV table of your own")
    parser.add_argument("--columns", type=Path, help="map.toml: which column holds what")
    parser.add_argument("--root", type=Path, help="folder of the pictures, if not beside the table")
    parser.add_argument("--format", choices=FORMATS, help="layout, instead of recognising it")
    parser.add_argument("--collection", help="name of the collection")
    parser.add_argument("--licence", default="", help="licence of rows that state none")
    parser.add_argument(
        "--patient-namespace",
        help="identifier system of the table's patient numbers, as the EHR names it",
    )
    parser.add_argument(
        "--patient-pattern",
        help="labelled folder: regular expression whose first group is the patient in a path",
    )
    parser.add_argument(
        "--one-patient-per-picture",
        action="store_true",
        help="labelled folder: declare that no patient has two pictures",
    )
    parser.add_argument("--modality", help="what the pictures are, such as DX (PACS: DX,CR)")
    parser.add_argument("--body-part", help="what they show, such as CHEST (PACS: a list)")
    parser.add_argument(
        "--reference",
        action="store_true",
        help="DICOM folder: its dates are not true ones, take none",
    )
    parser.add_argument("--limit", type=at_least_one, help="read this many rows at most")
    parser.add_argument("--workers", type=at_least_one, help="files at a time; as many as cores")
    parser.add_argument("--every-modality", action="store_true", help="also rows that are no X-ray")
    parser.add_argument(
        "--writing-reviewed",
        action="store_true",
        help="a person has checked that the writing on these pictures names nobody",
    )
    parser.add_argument("--no-index", action="store_true", help="do not embed, build no index")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    library_archive.add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Import, embed and build the index.

    Raises
    ------
    CdsError
        INVALID_REQUEST if the source is not understood; INVALID_CONFIGURATION before
        `precedent init`; MODEL_UNAVAILABLE without an encoder.

    """
    if library_archive.is_meant(arguments):
        return library_archive.run(arguments)
    library_archive.refuse_stray_options(arguments)
    settings = settings_from_environment()
    console = Console(stderr=arguments.json)
    storage = open_storage(settings)
    summary = _import(arguments, settings, storage, console)
    if not arguments.no_index and summary.n_cases_in_library:
        rebuild_index(settings, console, only_if_due=True)
    if arguments.json:
        Console(soft_wrap=True, highlight=False).print_json(json.dumps(summary.to_json()))
    else:
        print_summary(summary, console)
    return 0


def _import(
    arguments: argparse.Namespace, settings: Settings, storage: Storage, console: Console
) -> ImportSummary:
    # It loads onnxruntime: only where it is needed.
    from cds.engine.bulk_import import bulk_import, usual_workers

    source = open_source(
        SourceRequest(
            folder=arguments.path,
            table=arguments.table,
            columns=arguments.columns,
            root=arguments.root,
            layout=arguments.format,
            collection=arguments.collection,
            licence=arguments.licence,
            patient_namespace=arguments.patient_namespace,
            patient_pattern=arguments.patient_pattern,
            one_patient_per_picture=arguments.one_patient_per_picture,
            modality=arguments.modality,
            body_part=arguments.body_part,
            every_modality=arguments.every_modality,
            is_reference=arguments.reference,
        )
    )
    importing = bulk_import(
        settings,
        storage,
        n_workers=arguments.workers or usual_workers(),
        embeds=not arguments.no_index,
        writing_reviewed=arguments.writing_reviewed,
    )
    with importing as library_import, Steps(console, "Importing") as steps:
        return library_import.run(
            source.rows,
            source_kind=source.layout,
            collection=source.collection,
            limit=arguments.limit,
            progress=steps,
        )


def print_summary(summary: ImportSummary, console: Console) -> None:
    """Print what an import did, for a person."""
    console.print(
        f"Read {summary.n_rows} rows: {summary.n_cases} new cases of {summary.n_patients} "
        f"patients, {summary.n_pictures} pictures."
    )
    if summary.n_already:
        console.print(f"Already in the library: {summary.n_already} pictures.")
    if summary.n_duplicates:
        console.print(f"The same picture again: {summary.n_duplicates}.")
    _print_counts("Quarantined", summary.quarantined, console)
    _print_counts("Values set aside", summary.set_aside, console)
    _print_deidentification(summary.deidentification, console)
    console.print(
        f"The library now holds {summary.n_cases_in_library} cases of "
        f"{summary.n_patients_in_library} patients."
    )


def _print_deidentification(done: Mapping[str, Any], console: Console) -> None:
    attributes = {f"attributes: {name}": n for name, n in done.get("attributes", {}).items()}
    lines = {**attributes, **done.get("counts", {})}
    if lines:
        console.print("De-identification:")
        for name, count in lines.items():
            console.print(f"  {count:>6}  {name}", highlight=False, markup=False)


def _print_counts(title: str, counts: Mapping[str, int], console: Console) -> None:
    if counts:
        console.print(f"{title}: {sum(counts.values())}")
        for reason, count in counts.items():
            console.print(f"  {count:>6}  {reason}", highlight=False, markup=False)
