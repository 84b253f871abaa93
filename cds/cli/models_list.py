"""`precedent models list|show|remove`: the encoders of this installation."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cds.domain.errors import CdsError, Reason
from cds.settings import Settings, settings_from_environment

if TYPE_CHECKING:
    from models.encoder_registry import EncoderRegistry


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the three commands."""
    listed = subparsers.add_parser("list", help="list the encoders", description=__doc__)
    listed.add_argument("--json", action="store_true", help="print JSON for machines")
    listed.set_defaults(run=run_list)
    shown = subparsers.add_parser("show", help="show one encoder", description=__doc__)
    shown.add_argument("name", metavar="NAME")
    shown.set_defaults(run=run_show)
    removed = subparsers.add_parser("remove", help="remove an added encoder", description=__doc__)
    removed.add_argument("name", metavar="NAME")
    removed.set_defaults(run=run_remove)


def run_list(arguments: argparse.Namespace) -> int:
    """Print each encoder: which serves, which has an index."""
    settings = settings_from_environment()
    registry = _registry(settings)
    facts = [
        _facts(name, folder, settings, registry) for name, folder in registry.folders().items()
    ]
    if arguments.json:
        sys.stdout.write(json.dumps(facts, indent=1) + "\n")
        return 0
    for one in facts:
        state = "serving" if one["is_serving"] else "index ready" if one["has_index"] else ""
        problem = f" ({one['problem']})" if one["problem"] else ""
        line = f"{one['name']:32} {one['dimension'] or '?':>5} dimensions  {state}{problem}"
        sys.stdout.write(line.rstrip() + "\n")
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print what the manifest of one encoder says; its files are compared with their checksums."""
    from models.manifest import read_manifest

    settings = settings_from_environment()
    registry = _registry(settings)
    folder = registry.named(arguments.name)
    manifest = read_manifest(folder)
    manifest.verified_files(folder)
    facts = {**_facts(arguments.name, folder, settings, registry), "manifest": asdict(manifest)}
    sys.stdout.write(json.dumps(facts, indent=1) + "\n")
    return 0


def run_remove(arguments: argparse.Namespace) -> int:
    """Remove an added encoder and let go of its index; the serving one stays.

    Raises
    ------
    CdsError
        INVALID_REQUEST if it serves or came with the installation; NOT_FOUND.

    """
    from cds.adapters.encoder_generations import EncoderGenerations
    from cds.engine import generation_folder
    from models.embedder import folder_hash

    settings = settings_from_environment()
    registry = _registry(settings)
    folder = registry.named(arguments.name)
    generations = EncoderGenerations(generation_folder(settings), folder_hash(folder))
    if generations.serves_now():
        raise CdsError(
            Reason.INVALID_REQUEST, f"{arguments.name} is serving; roll another one out first."
        )
    registry.remove(arguments.name)
    generations.forget()
    sys.stdout.write(
        f"{arguments.name} was removed. Its vectors stay in the database with their pictures; its "
        "index goes with the next `precedent library index`.\n"
    )
    return 0


def _registry(settings: Settings) -> EncoderRegistry:
    from cds.engine.encoders import registry_of  # loads onnxruntime: only when it is needed

    return registry_of(settings)


def _facts(
    name: str, folder: Path, settings: Settings, registry: EncoderRegistry
) -> dict[str, Any]:
    from cds.adapters.encoder_generations import EncoderGenerations
    from cds.engine import generation_folder
    from models.embedder import folder_hash
    from models.manifest import read_manifest

    facts: dict[str, Any] = {
        "name": name,
        "folder": str(folder),
        "is_added": registry.is_added(folder),
        "dimension": None,
        "encoder_hash": None,
        "has_index": False,
        "is_serving": False,
        "problem": None,
    }
    try:
        facts["dimension"] = read_manifest(folder).dimension
        facts["encoder_hash"] = folder_hash(folder)
    except CdsError as error:
        return {**facts, "problem": error.sentence}
    generations = EncoderGenerations(generation_folder(settings), facts["encoder_hash"])
    facts["has_index"] = generations.has_generation()
    facts["is_serving"] = generations.serves_now()
    return facts
