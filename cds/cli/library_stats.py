"""`precedent library stats`: what the library holds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace

from rich.console import Console

from cds.adapters.generations import INDEX_FOLDER, GenerationFolder
from cds.adapters.site_adapters import SiteAdapters
from cds.adapters.storage import Storage, open_storage
from cds.library.library_stats import LibraryStats, library_stats
from cds.settings import Settings, settings_from_environment

SHOWN_PER_LIST = 15


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("stats", help="what the library holds", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print every count as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Count the library and print it.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION before `precedent init`.

    """
    settings = settings_from_environment()
    storage = open_storage(settings)
    current = storage.embeddings.current_generation()
    stats = library_stats(
        storage.catalogue.iter_cases(),
        quarantined=storage.catalogue.rejections(),
        index_generation=current[0] if current is not None else None,
    )
    stats = replace(stats, site_adapter=_adapter_sentence(settings, storage))
    if arguments.json:
        Console(soft_wrap=True, highlight=False).print_json(json.dumps(stats.to_json()))
    else:
        print_stats(stats, Console())
    return 0


def print_stats(stats: LibraryStats, console: Console) -> None:
    """Print the counts for a person; lists are cut after their largest values."""
    console.print(
        f"{stats.n_cases} cases of {stats.n_patients} patients, {stats.n_pictures} pictures."
    )
    if stats.film_years is not None:
        console.print(f"Films of {stats.film_years[0]} to {stats.film_years[1]}.")
    console.print(f"Index generation: {stats.index_generation or 'none yet'}.")
    if stats.site_adapter is not None:
        console.print(f"Site adapter: {stats.site_adapter}", highlight=False, markup=False)
    for title, counts in (
        ("Collection", stats.n_patients_by_collection),
        ("Modality", stats.n_patients_by_modality),
        ("View", stats.n_patients_by_view),
        ("Age group", stats.n_patients_by_age_group),
        ("Sex", stats.n_patients_by_sex),
        ("Diagnosis", stats.n_patients_by_diagnosis),
        ("Finding", stats.n_patients_by_finding),
        ("Laboratory value or vital sign", stats.n_patients_by_measurement),
        ("Outcome known", stats.n_patients_by_outcome),
        ("Licence", stats.n_patients_by_licence),
    ):
        _print_list(f"{title} (patients)", counts, console)
    _print_list("Quarantined (files or rows)", stats.quarantined, console)


def _adapter_sentence(settings: Settings, storage: Storage) -> str | None:
    """Say what the index was adapted with, and whether that is to be fitted again."""
    adapters = SiteAdapters(storage, GenerationFolder(settings.state_dir / INDEX_FOLDER))
    note = adapters.in_use()
    if note is None:
        return None
    n_erased = adapters.n_erased_since_fit(note)
    due = f"; to be refitted: {n_erased} patients were erased since" if n_erased else ""
    return f"{note.sha256[:12]}, {note.record.kind}, of {note.record.fitted_at[:10]}{due}."


def _print_list(title: str, counts: Mapping[str, int], console: Console) -> None:
    if not counts:
        return
    console.print(f"\n{title}", style="bold")
    for value, count in list(counts.items())[:SHOWN_PER_LIST]:
        console.print(f"  {count:>6}  {value}", highlight=False, markup=False)
    if len(counts) > SHOWN_PER_LIST:
        console.print(f"          and {len(counts) - SHOWN_PER_LIST} more (--json lists all)")
