"""`precedent library index`: embed what has no vector yet, and build a new index generation."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rich.console import Console

from cds.cli.progress import Steps
from cds.domain.generation import IndexPassport
from cds.library.embedding_run import embed_missing
from cds.settings import Settings, settings_from_environment


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "index", help="embed new pictures and rebuild the index", description=__doc__
    )
    parser.add_argument("--encoder", metavar="NAME", help="another encoder than the serving one")
    parser.add_argument("--json", action="store_true", help="print the index passport as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Build the index.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION before `precedent init`; MODEL_UNAVAILABLE without an encoder;
        INDEX_UNAVAILABLE if the library is empty.

    """
    settings = settings_from_environment()
    console = Console(stderr=arguments.json)
    passport = rebuild_index(settings, console, encoder_name=arguments.encoder)
    if arguments.json:
        Console(soft_wrap=True, highlight=False).print_json(json.dumps(asdict(passport)))
    return 0


def rebuild_index(
    settings: Settings,
    console: Console,
    *,
    only_if_due: bool = False,
    encoder_name: str | None = None,
) -> IndexPassport:
    """Embed what lacks a vector and build a generation.

    Parameters
    ----------
    settings
        Of this installation.
    console
        Where progress is shown.
    only_if_due
        Keep the current generation if it already holds every case and picture.
    encoder_name
        Whose index is built; None means the encoder that serves.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE without an encoder; INDEX_UNAVAILABLE if the library is empty.

    """
    from cds.engine import engine_from_settings  # loads onnxruntime: only when it is needed

    engine = engine_from_settings(settings)
    encoders = engine.encoders
    parts = encoders.serving() if encoder_name is None else encoders.named(encoder_name)
    with Steps(console, "Embedding pictures") as steps:
        embed_missing(
            parts.embedder,
            embeddings=engine.storage.embeddings,
            blobs=engine.storage.blobs,
            progress=steps.show,
        )
    passport = parts.upkeep.build(
        only_if_due=only_if_due,
        on_wait=lambda: console.print("Another process is building the index; waiting for it."),
    )
    console.print(
        f"Index {passport.generation_id}: {passport.n_cases} cases of {passport.n_patients} "
        f"patients, {passport.n_rows} pictures."
    )
    if passport.expansion_search is None and passport.recall_at_10 is not None:
        console.print(
            f"Its graph found only {passport.recall_at_10:.3f} of the true neighbours and is not "
            "used: every query is compared with every case."
        )
    return passport
