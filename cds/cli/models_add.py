"""`precedent models add SOURCE`: take over an encoder in Hugging Face layout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cds.domain.errors import CdsError, Reason
from cds.settings import Settings, settings_from_environment

if TYPE_CHECKING:
    from models.huggingface_folder import Brought
    from models.huggingface_probe import Wishes

HELP = "take over an encoder in Hugging Face layout"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("add", help=HELP, description=__doc__)
    parser.add_argument(
        "source",
        help="folder with model.onnx (or onnx/model.onnx), config.json, preprocessor_config.json; "
        "or a hub's OWNER/NAME",
    )
    parser.add_argument("--name", help="what it is called here; else the folder's name")
    parser.add_argument("--output", metavar="NAME", help="the graph's output that is the embedding")
    parser.add_argument(
        "--pooling", choices=["none", "cls", "mean", "places"], help="how that becomes one vector"
    )
    parser.add_argument(
        "--prefix-tokens",
        type=int,
        metavar="N",
        help="class and register tokens before the patches, where they cannot be counted",
    )
    parser.add_argument("--revision", metavar="COMMIT", help="of a hub: 40 hexadecimal digits")
    parser.add_argument(
        "--sha256", metavar="HEX", help="of a hub: the checksum that model.onnx has to have"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check the encoder on generated pictures and take it over.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE with what is missing or refused; INVALID_REQUEST if the name is taken.

    """
    from datetime import UTC, datetime

    from cds.engine.encoders import registry_of  # loads onnxruntime: only when it is needed
    from models.huggingface_folder import checked_name, take_over

    settings = settings_from_environment()
    if not settings.state_dir.is_dir():
        raise CdsError(Reason.INVALID_CONFIGURATION, "Run `precedent init` first.")
    name = checked_name(arguments.name or Path(arguments.source).resolve().name.lower())
    registry = registry_of(settings)
    if name in registry.folders():
        raise CdsError(Reason.INVALID_REQUEST, f"There is already an encoder named {name}.")
    brought, origin = _read(arguments, settings)
    today = datetime.now(UTC).date().isoformat()
    folder = take_over(brought, registry.store, name=name, origin=origin, created_on=today)
    _report(brought, name, folder)
    return 0


def _read(arguments: argparse.Namespace, settings: Settings) -> tuple[Brought, str]:
    from models.huggingface_folder import check_contents, read_folder

    folder = Path(arguments.source)
    if folder.is_dir() or arguments.source.count("/") != 1:
        return read_folder(folder, _wishes(arguments)), folder.resolve().name
    from cds.adapters.model_hub import download

    contents = download(settings, arguments.source, arguments.revision, arguments.sha256)
    return check_contents(contents, _wishes(arguments)), f"{arguments.source}@{arguments.revision}"


def _wishes(arguments: argparse.Namespace) -> Wishes:
    from models.huggingface_graph import Pooling
    from models.huggingface_probe import Wishes

    pooling = None if arguments.pooling is None else Pooling(arguments.pooling)
    return Wishes(arguments.output, pooling, arguments.prefix_tokens)


def _report(brought: Brought, name: str, folder: Path) -> None:
    probed = brought.probed
    reading = probed.reading
    maps = {
        "exact": "available; its mean is the embedding",
        "inexact": "available; its mean is not the embedding",
        "none": "none, so heat maps are not available with this encoder",
    }[reading.map_relation.value]
    lines = [
        f"{name}: added to {folder}.",
        f"  embedding: {reading.output_name}, pooling {reading.pooling.value}, "
        f"{probed.dimension} dimensions, scaled to unit norm here",
        f"  feature map: {maps}",
        *(f"  note: {warning}" for warning in probed.warnings),
        f"Next: precedent library index --encoder {name}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
