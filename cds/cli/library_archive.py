"""`precedent library import --dicomweb URL --fhir URL`: a hospital's own library."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cds.adapters.storage import Storage, open_storage
from cds.cli.argument_types import day
from cds.cli.library_index import rebuild_index
from cds.cli.progress import Steps
from cds.domain.archive import StudySearch
from cds.domain.errors import CdsError, Reason
from cds.domain.librarian import LibrarianAct
from cds.domain.registration import EhrRegistration
from cds.library.archive_intake import LEASE_S
from cds.library.archive_kept_out import read_opt_out_list
from cds.library.archive_preview import preview
from cds.library.archive_summary import ArchiveSummary
from cds.settings import settings_from_environment

if TYPE_CHECKING:
    from cds.engine.archives import ArchiveOptions, OpenArchives

EXIT_STOPPED = 3
_ARCHIVES_ONLY = (
    *("dry_run", "from_on", "to_on", "librarian", "legal_basis", "opt_out", "bulk", "group"),
    *("follow_up_until", "retry_given_up", "mrn_system", "pacs_issuer", "permit_network"),
)
_FILES_ONLY = ("table", "columns", "root", "format")
NEEDS_A_LIBRARIAN = (
    "Importing patients' studies is a librarian's act: name the answerable person by --librarian "
    "and the right to do it by --legal-basis."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of an import from the archives."""
    group = parser.add_argument_group("a hospital's own library (PACS and FHIR server)")
    group.add_argument("--dicomweb", metavar="URL", help="DICOMweb root of the PACS")
    group.add_argument("--fhir", metavar="URL", help="FHIR R4 base URL of the record")
    group.add_argument("--ehr", metavar="ID", help="registered EHR, instead of addresses")
    group.add_argument("--from", dest="from_on", type=day, metavar="DATE")
    group.add_argument("--to", dest="to_on", type=day, metavar="DATE")
    group.add_argument("--librarian", metavar="NAME", help="who is answerable; required")
    group.add_argument("--legal-basis", metavar="TEXT", help="right to keep the cases; required")
    group.add_argument("--opt-out", type=Path, metavar="FILE", help="numbers of who is kept out")
    group.add_argument("--bulk", action="store_true", help="read records by FHIR bulk export")
    group.add_argument("--group", metavar="ID", help="FHIR Group for --bulk; default: everybody")
    group.add_argument(
        "--follow-up-until",
        type=day,
        metavar="DATE",
        help="deaths and returns are completely recorded until then (a register is linked)",
    )
    group.add_argument(
        "--stable-seconds",
        type=float,
        default=60.0,
        help="so long a study's count must stand still before it counts as complete",
    )
    group.add_argument(
        "--lease-seconds",
        type=float,
        default=LEASE_S,
        help="so long a study of an importer that was killed stays reserved",
    )
    group.add_argument(
        "--retry-given-up",
        action="store_true",
        help="take up studies again that an earlier run gave up",
    )
    group.add_argument("--mrn-system", help="identifier system of the PACS's patient numbers")
    group.add_argument("--pacs-issuer", help="issuer of patient ID that stands for it")
    group.add_argument(
        "--permit-network", action="append", default=[], metavar="CIDR", help="private network"
    )
    group.add_argument("--dry-run", action="store_true", help="join and count, keep nothing")


def is_meant(arguments: argparse.Namespace) -> bool:
    """Tell whether the arguments name archives."""
    return bool(arguments.dicomweb or arguments.fhir or arguments.ehr)


def refuse_stray_options(arguments: argparse.Namespace) -> None:
    """Refuse what an import of files would pass over, `--dry-run` above all.

    Raises
    ------
    CdsError
        INVALID_REQUEST with the names of the options.

    """
    stray = [_option(name) for name in _ARCHIVES_ONLY if getattr(arguments, name)]
    if stray:
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"Only an import from a PACS (--ehr, or --dicomweb with --fhir) knows "
            f"{', '.join(stray)}; nothing was imported.",
        )


def _option(name: str) -> str:
    return f"--{name.removesuffix('_on').replace('_', '-')}"


def run(arguments: argparse.Namespace) -> int:
    """Import from the archives, embed and build the index.

    Raises
    ------
    CdsError
        INVALID_REQUEST without librarian or legal basis, with a source of files, for dates in the
        wrong order or an unusable opt-out list;
        INVALID_CONFIGURATION; what a bulk export raises.

    """
    from cds.engine.archives import open_archives  # loads decoders: only when it is needed

    files = [_option(name) for name in _FILES_ONLY if getattr(arguments, name)]
    if arguments.path is not None or files:
        raise CdsError(
            Reason.INVALID_REQUEST,
            "Files and a PACS are imported by commands of their own: leave out "
            f"{', '.join(files) or 'the folder'}, or the servers.",
        )
    settings = settings_from_environment()
    console = Console(stderr=arguments.json)
    act, opt_outs = _act(arguments)
    storage = open_storage(settings)
    registration = _registration(arguments, storage)
    opened = open_archives(settings, storage, registration, _options(arguments), tell=console.print)
    with opened as archives:
        for note in archives.notes:
            console.print(note, markup=False)
        if arguments.dry_run:
            archives.kept_out.consider(opt_outs)
            return _preview(arguments, archives, act.search, console)
        archives.kept_out.add_list(opt_outs)
        with Steps(console, "Importing") as steps:
            summary = archives.importer.run(act, limit=arguments.limit, progress=steps)
    if not arguments.no_index and summary.library.n_cases_in_library:
        rebuild_index(settings, console, only_if_due=not _is_updated(storage))
    _print(arguments, summary, console)
    return 0 if summary.stopped is None else EXIT_STOPPED


def _act(
    arguments: argparse.Namespace,
) -> tuple[LibrarianAct, tuple[tuple[str | None, str], ...]]:
    librarian, basis = arguments.librarian or "", arguments.legal_basis or ""
    if not librarian.strip() or not basis.strip():
        raise CdsError(Reason.INVALID_REQUEST, NEEDS_A_LIBRARIAN)
    if arguments.from_on and arguments.to_on and arguments.to_on < arguments.from_on:
        raise CdsError(Reason.INVALID_REQUEST, "--to lies before --from.")
    opt_outs = read_opt_out_list(arguments.opt_out) if arguments.opt_out else ()
    search = StudySearch(
        from_on=arguments.from_on,
        to_on=arguments.to_on,
        modalities=_names(arguments.modality),
        body_parts=_names(arguments.body_part),
    )
    return LibrarianAct(librarian.strip(), basis.strip(), search, len(opt_outs)), opt_outs


def _names(text: str | None) -> tuple[str, ...]:
    """Return what a list such as ``DX,CR`` names."""
    return tuple(one.strip().upper() for one in (text or "").split(",") if one.strip())


def _registration(arguments: argparse.Namespace, storage: Storage) -> EhrRegistration:
    from cds.engine.archives import registration_of

    found = registration_of(
        storage, ehr_id=arguments.ehr, fhir_url=arguments.fhir, dicomweb_url=arguments.dicomweb
    )
    return replace(
        found,
        mrn_system=arguments.mrn_system or found.mrn_system,
        pacs_issuer=arguments.pacs_issuer or found.pacs_issuer,
        permitted_networks=(*found.permitted_networks, *arguments.permit_network),
    )


def _options(arguments: argparse.Namespace) -> ArchiveOptions:
    from cds.engine.archives import ArchiveOptions

    return ArchiveOptions(
        collection=arguments.collection or "",
        licence=arguments.licence,
        bulk=arguments.bulk,
        group_id=arguments.group,
        complete_until=arguments.follow_up_until,
        stable_s=arguments.stable_seconds,
        lease_s=arguments.lease_seconds,
        retries_given_up=arguments.retry_given_up,
        writing_reviewed=arguments.writing_reviewed,
    )


def _is_updated(storage: Storage) -> bool:
    """Tell whether later knowledge has changed a case since the current index was built."""
    current = storage.embeddings.current_generation()
    return current is not None and storage.catalogue.n_updated_since(current[1]) > 0


def _preview(
    arguments: argparse.Namespace, opened: OpenArchives, search: StudySearch, console: Console
) -> int:
    with Steps(console, "Looking") as steps:
        found = preview(
            opened.archives, opened.kept_out, search, limit=arguments.limit, tell=steps.show
        )
    if arguments.json:
        Console(soft_wrap=True, highlight=False).print_json(json.dumps(asdict(found)))
        return 0
    console.print(f"{found.n_listed} studies listed, {found.n_joined} would be imported.")
    _print_counts("Of them with", found.parts, console, has_sum=False)  # a study has several
    _print_counts("Left out", found.reasons, console)
    console.print("Nothing was kept.")
    return 0


def _print(arguments: argparse.Namespace, summary: ArchiveSummary, console: Console) -> None:
    if arguments.json:
        Console(soft_wrap=True, highlight=False).print_json(json.dumps(summary.to_json()))
    else:
        print_summary(summary, console)


def print_summary(summary: ArchiveSummary, console: Console) -> None:
    """Print what an import did, for a person."""
    library = summary.library
    console.print(
        f"{summary.n_listed} studies listed; {summary.n_imported} imported: {library.n_cases} new "
        f"cases of {library.n_patients} patients, {library.n_pictures} pictures."
    )
    console.print(
        f"Asked again: {summary.n_asked_again} earlier cases, {library.n_updated} changed."
    )
    left = {
        "still arriving in the PACS": summary.n_incomplete,
        "unknown to the record": summary.n_not_recorded,
        "not reported yet": summary.n_not_reported,
        "failed for now": summary.n_failed_for_now,
        "with another importer, or not due yet": summary.n_with_others,
    }
    _print_counts("Left for a later run", {k: n for k, n in left.items() if n}, console)
    closed = {
        "given up in this run": summary.n_quarantined_studies,
        "given up before": summary.n_given_up_before,
        "kept out": summary.n_kept_out,
    }
    _print_counts("Not in the library", {k: n for k, n in closed.items() if n}, console)
    _print_counts("Reasons", summary.reasons, console)
    _print_counts("Quarantined", library.quarantined, console)
    _print_counts("Values set aside", library.set_aside, console)
    for title in ("attributes", "counts"):
        _print_counts(f"De-identified, {title}", library.deidentification.get(title, {}), console)
    _print_counts("Not to be had from the record", summary.gaps, console)
    _print_to_do(summary, console)
    console.print(
        f"The library now holds {library.n_cases_in_library} cases of "
        f"{library.n_patients_in_library} patients."
    )
    if summary.stopped is not None:
        console.print(f"Stopped early: {summary.stopped} Run the same command again to go on.")


def _print_to_do(summary: ArchiveSummary, console: Console) -> None:
    """Print what a person has to do about cases that are in the library."""
    if summary.n_cases_of_opted_out:
        console.print(
            f"{summary.n_cases_of_opted_out} cases in the library are of patients who are kept out "
            "now: erase them with `precedent library erase --patient`."
        )
    if summary.n_in_doubt:
        console.print(
            f"{summary.n_in_doubt} cases in the library are of studies that PACS and record now "
            "ascribe to different patients: look at them with the PACS team."
        )


def _print_counts(
    title: str, counts: Mapping[str, int], console: Console, *, has_sum: bool = True
) -> None:
    if counts:
        console.print(f"{title}: {sum(counts.values())}" if has_sum else f"{title}:")
        for reason, count in counts.items():
            console.print(f"  {count:>6}  {reason}", highlight=False, markup=False)
