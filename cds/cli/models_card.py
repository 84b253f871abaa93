"""`precedent models card`: bring the source attributes of an encoder folder up to date."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from cds.domain.source_attributes import Statement
    from models.manifest import Manifest


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "card", help="write an encoder's 31 source attributes", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="the encoder folder")
    parser.add_argument("--run", dest="record", type=Path, metavar="run.json", help="of training")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="report.json",
        help="evaluation on held-out pictures of the sources trained on",
    )
    parser.add_argument(
        "--external-report",
        type=Path,
        metavar="report.json",
        help="evaluation on pictures of a source that was not trained on",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the card, and say how much of it is known.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if the folder is not an encoder's; INVALID_REQUEST if a file cannot be
        read, or is about another encoder or other pictures than said.

    """
    from models.embedder import encoder_hash_of_folder
    from models.manifest import read_manifest
    from models.model_card import write_card

    manifest = read_manifest(arguments.folder)
    today = datetime.now(UTC).date().isoformat()
    try:
        found = _statements(arguments, manifest, encoder_hash_of_folder(arguments.folder))
        written = write_card(arguments.folder, found, stated_on=today)
    except ValueError as error:
        raise CdsError(Reason.INVALID_REQUEST, f"The card was not written: {error}.") from error
    n_known = sum(one.value is not None for one in written.values())
    sys.stdout.write(
        f"Wrote the card of {manifest.name}: {n_known} of {len(written)} attributes are "
        "available. Purpose, limits and process are for a person to state.\n"
    )
    return 0


def _statements(
    arguments: argparse.Namespace, manifest: Manifest, encoder_hash: str
) -> dict[str, Statement]:
    """Collect the figures; a report goes before the run record."""
    from models.model_card_figures import figures_of_report, figures_of_run, sources_of_report

    found: dict[str, Statement] = {}
    if arguments.record is not None:
        record = _json(arguments.record)
        if record.get("encoder") != manifest.name:
            raise ValueError(f"{arguments.record.name} is about another encoder")
        found |= figures_of_run(record)
    for path, is_external in ((arguments.report, False), (arguments.external_report, True)):
        if path is None:
            continue
        report = _json(path)
        if report.get("encoder_hash") != encoder_hash:
            raise ValueError(f"{path.name} is about another encoder")
        figures = figures_of_report(report, is_external=is_external)
        trained = {row.source for row in manifest.training}
        shared = sources_of_report(report) & trained
        if is_external and shared:
            raise ValueError(f"{path.name} holds a source that was trained on: {min(shared)}")
        found |= figures
    return found


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    CdsError
        INVALID_REQUEST if it is JSON, but no object.
    ValueError
        If there is no JSON.

    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read") from error
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON") from error
    if not isinstance(content, dict):
        raise CdsError(Reason.INVALID_REQUEST, f"{path.name} is not a JSON object.")
    return content
