"""`precedent models promote|rollback`: change the serving encoder, checked and approved."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from cds.cli.progress import Steps
from cds.domain.errors import CdsError, Reason
from cds.settings import settings_from_environment

if TYPE_CHECKING:
    from cds.engine.encoder_rollout import RolloutCheck

REPORT_FOLDER = "rollouts"  # in the state folder
SHOWN_FLIPS = 30


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the two commands."""
    promote = subparsers.add_parser(
        "promote",
        help="check an encoder and, with two approvers, let it serve",
        description="Embed, index and check an encoder beside the serving one. Without approvers "
        "nothing is switched.",
    )
    promote.add_argument("name", metavar="NAME")
    promote.add_argument(
        "--limits", type=Path, required=True, help="JSON file with the frozen set and its limits"
    )
    promote.add_argument(
        "--approver", action="append", default=[], metavar="NAME", help="twice, two people"
    )
    promote.add_argument(
        "--answers", type=int, default=500, help="how many newest answers are asked again"
    )
    promote.set_defaults(run=run_promote)
    rollback = subparsers.add_parser(
        "rollback", help="let the encoder before this one serve again", description=__doc__
    )
    rollback.add_argument("--by", default="", metavar="NAME", help="who takes it back")
    rollback.set_defaults(run=run_rollback)


def run_promote(arguments: argparse.Namespace) -> int:
    """Check an encoder, write the report and, with two approvers, switch.

    Raises
    ------
    CdsError
        INVALID_REQUEST if limits are not kept; what the engine raises.

    """
    from cds.engine import engine_from_settings  # loads onnxruntime: only when it is needed
    from cds.engine.encoder_rollout import EncoderRollouts, limits_from_file

    console = Console()
    limits = limits_from_file(arguments.limits)
    engine = engine_from_settings(settings_from_environment())
    rollouts = EncoderRollouts(engine)
    with Steps(console, "Embedding pictures") as steps:
        parts = rollouts.prepare(arguments.name, steps.show)
    if engine.encoders.serving_hash() == parts.embedder.encoder_hash:
        console.print(f"{arguments.name} serves already.")
        return 0
    with Steps(console, "Asking answered studies again") as steps:
        checked = rollouts.check(
            parts, limits, n_answers=max(0, arguments.answers), progress=steps.show
        )
    path = _written(checked, engine.settings.state_dir / REPORT_FOLDER, engine.clock.now())
    _print(checked, console)
    console.print(f"The report lies in {path}.", soft_wrap=True)
    if not arguments.approver:
        console.print("Nothing was switched: two people have to approve it (--approver, twice).")
        return 0
    done = rollouts.promote(parts, checked, arguments.approver)
    rollouts.prepare(arguments.name)
    console.print(f"{done.after.name} serves now, instead of {done.before.name}.")
    return 0


def run_rollback(arguments: argparse.Namespace) -> int:
    """Let the encoder before this one serve again.

    Raises
    ------
    CdsError
        As `EncoderRollouts.rollback`.

    """
    from cds.engine import engine_from_settings  # loads onnxruntime: only when it is needed
    from cds.engine.encoder_rollout import EncoderRollouts

    console, started_s = Console(), time.monotonic()
    engine = engine_from_settings(settings_from_environment())
    with Steps(console, "Embedding pictures that came in since") as steps:
        done = EncoderRollouts(engine).rollback([arguments.by], steps.show)
    console.print(
        f"{done.after.name} serves again, instead of {done.before.name} "
        f"({time.monotonic() - started_s:.1f} s)."
    )
    return 0


def _written(checked: RolloutCheck, folder: Path, now: object) -> Path:
    """Write the report, readable by the owner only."""
    stamp = f"{now:%Y%m%dT%H%M%S}"
    path = folder / f"{stamp}-{checked.after.name}.json"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(checked.to_json() + "\n", "utf-8")
    except OSError as error:
        raise CdsError(
            Reason.STORAGE_UNAVAILABLE, f"The report cannot be written: {error.strerror}."
        ) from None
    return path


def _print(checked: RolloutCheck, console: Console) -> None:
    site, flips = checked.site, checked.flips
    console.print(
        f"P@{site.limits.cutoff} on {site.n_cases} frozen cases: {site.precision_before:.3f} by "
        f"{checked.before.name}, {site.precision_after:.3f} by {checked.after.name}."
    )
    console.print(
        f"{len(flips.flips)} of {flips.n_compared} answers would change "
        f"({flips.n_looked_at - flips.n_compared} of {flips.n_looked_at} could not be asked again"
        + (f": {json.dumps(dict(flips.not_compared))})." if flips.not_compared else ").")
    )
    if flips.flips:
        table = Table("EHR", "answer", "what", "before", "after")
        for flip in flips.flips[:SHOWN_FLIPS]:
            table.add_row(
                flip.ehr_id,
                flip.report_id,
                "\n".join(flip.what),
                "\n".join(flip.before),
                "\n".join(flip.after),
            )
        console.print(table)
    why_refused = site.why_refused()
    if why_refused is not None:
        console.print(f"The agreed limits are not kept: {why_refused}")
