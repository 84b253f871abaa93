"""`precedent models train`: transfer learning on a folder, the library or open collections."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cds.cli.argument_types import at_least_one
from cds.cli.progress import Steps
from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from cds.cli.training_rows import ReadableRows
    from models.training.job import Outcome, TrainingJob
    from models.training.recipe import Recipe

NO_TORCH = (
    "Training needs torch and onnx: install the extra with pip install 'precedent-cds[train]'."
)
USUAL_PATIENCE = 5
# Also in `models.training.recipe`, which --help does not load.
BALANCES = ("none", "sampling", "loss")
NORMALISATIONS = ("folded", "frozen", "batch")
# Option to the field of the recipe that it changes.
_RECIPE_OPTIONS = {
    "epochs": "n_epochs",
    "projection_epochs": "n_projection_epochs",
    "self_supervised_epochs": "n_self_supervised_epochs",
    "batch_size": "batch_size",
    "seed": "seed",
    "balance": "balance",
    "label_smoothing": "label_smoothing",
    "patience": "patience",
    "normalisation": "normalisation",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "train", help="train an encoder on your own pictures", description=__doc__
    )
    _add_data_arguments(parser)
    _add_recipe_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, help="encoder folder to write; its name is the encoder's"
    )
    parser.add_argument(
        "--start",
        type=Path,
        help="encoder folder, or ONNX file of a MobileNetV2; as shipped if left out",
    )
    parser.add_argument("--threads", type=at_least_one, default=2, help="of the processor")
    parser.add_argument(
        "--with-validation",
        action="store_true",
        help="train on the validation side too, without early stopping",
    )
    parser.add_argument(
        "--allow-worse",
        action="store_true",
        help="export also an encoder that retrieves worse than its start; its card says so",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the interrupted run of this --out"
    )
    parser.set_defaults(run=run)


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("pictures (one of the three)")
    data.add_argument(
        "folder", nargs="?", type=Path, help="folders named by class, or with metadata.csv"
    )
    data.add_argument("--library", action="store_true", help="the installed case library")
    data.add_argument(
        "--shared-permissive",
        type=Path,
        metavar="DATA",
        help="the open collections that a shipped encoder may be trained on, below DATA",
    )
    data.add_argument(
        "--collection", action="append", default=[], help="only this one of the library's; repeat"
    )
    data.add_argument("--licence", default="", help="folder: licence of pictures that state none")
    data.add_argument(
        "--patient-pattern",
        help="folder: regular expression whose first group is the patient in a path",
    )
    data.add_argument(
        "--one-patient-per-picture",
        action="store_true",
        help="folder: declare that no patient has two pictures",
    )
    data.add_argument(
        "--keep-split",
        action="store_true",
        help="folder: keep the split of the column 'split' or of folders train, validation, test",
    )


def _add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    recipe = parser.add_argument_group("recipe (options come before the file)")
    recipe.add_argument("--recipe", type=Path, metavar="FILE.toml", help="any field of the recipe")
    recipe.add_argument(
        "--freeze-blocks",
        type=at_least_one,
        metavar="N",
        help="keep the first N blocks and store their activations: faster; all train if left out",
    )
    recipe.add_argument("--size-px", type=at_least_one, help="side of the input: 224, 288 or 320")
    recipe.add_argument("--epochs", type=at_least_one, help="at most")
    recipe.add_argument("--projection-epochs", type=int, help="of the first step")
    recipe.add_argument("--self-supervised-epochs", type=int, help="warm-up without labels")
    recipe.add_argument("--batch-size", type=at_least_one)
    recipe.add_argument("--seed", type=int, help="of the split and of all chance")
    recipe.add_argument("--balance", choices=BALANCES, help="against rare labels")
    recipe.add_argument("--label-smoothing", type=float)
    recipe.add_argument(
        "--patience",
        type=int,
        help=f"stop after so many epochs without a gain ({USUAL_PATIENCE}); 0 never stops early",
    )
    recipe.add_argument("--stop-on", choices=("P@5", "AUROC"), default="P@5", help="the gain")
    recipe.add_argument("--normalisation", choices=NORMALISATIONS, help="batch normalisation")


def run(arguments: argparse.Namespace) -> int:
    """Train, and say what came out.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION without torch; INVALID_REQUEST if the data or the recipe cannot be
        used, or the encoder is worse than its start.

    """
    if find_spec("torch") is None or find_spec("onnx") is None:
        raise CdsError(Reason.INVALID_CONFIGURATION, NO_TORCH)
    from models.training.job import run_job  # loads torch: only when it is needed

    console = Console()
    reporter = ConsoleReporter(console)
    try:
        outcome = run_job(_job(arguments), reporter)
    finally:
        reporter.close()
    _print_outcome(outcome, arguments.out, console)
    return 0


class ConsoleReporter:
    """Shows a run on a terminal: sentences, and one bar at a time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title = ""
        self._steps: Steps | None = None

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        self._console.print(sentence, highlight=False, markup=False)

    def show(self, title: str, n_done: int, total: int) -> None:
        """Move the bar; another title begins another bar."""
        if self._steps is None or title != self._title:
            self.close()
            self._title = title
            self._steps = Steps(self._console, title, total)
            self._steps.__enter__()
        self._steps.show(n_done, total)

    def close(self) -> None:
        """Take the bar away."""
        if self._steps is not None:
            self._steps.__exit__(None, None, None)
            self._steps = None


def _job(arguments: argparse.Namespace) -> TrainingJob:
    from models.shipped import shipped_encoder
    from models.training.job import TrainingJob
    from models.training.recipe import RecipeError

    data = rows_of(arguments)
    start: Path = arguments.start or shipped_encoder()
    try:
        recipe = recipe_of(arguments, keeps_projection=start.is_dir())
    except RecipeError as error:
        raise CdsError(Reason.INVALID_REQUEST, f"The recipe cannot be used: {error}.") from None
    kept = ("library", "collection", "keep_split", "one_patient_per_picture", "patient_pattern")
    return TrainingJob(
        rows=data.rows,
        read=data.read,
        start=start,
        out=arguments.out,
        recipe=recipe,
        size_px=arguments.size_px or 0,
        stop_on=arguments.stop_on,
        joins_validation=arguments.with_validation,
        allows_worse=arguments.allow_worse,
        resumes=arguments.resume,
        n_threads=arguments.threads,
        origin={name: getattr(arguments, name) for name in kept}
        | {"folder": str(arguments.folder or arguments.shared_permissive or "")},
    )


def rows_of(arguments: argparse.Namespace) -> ReadableRows:
    """List the pictures that the command line names.

    Raises
    ------
    CdsError
        INVALID_REQUEST unless exactly one of the three ways is given; what reading it raises.

    """
    from cds.cli import training_rows

    given = [
        arguments.folder is not None,
        arguments.library,
        arguments.shared_permissive is not None,
    ]
    if sum(given) != 1:
        raise CdsError(
            Reason.INVALID_REQUEST, "Give one of: a folder, --library, --shared-permissive DATA."
        )
    _refuse_stray_options(arguments)
    if arguments.library:
        from cds.adapters.storage import open_storage
        from cds.settings import settings_from_environment

        storage = open_storage(settings_from_environment())
        return training_rows.rows_of_library(storage, arguments.collection)
    if arguments.shared_permissive is not None:
        return training_rows.rows_of_permissive_collections(arguments.shared_permissive)
    return training_rows.rows_of_folder(
        arguments.folder,
        licence=arguments.licence,
        patient_pattern=arguments.patient_pattern,
        one_patient_per_picture=arguments.one_patient_per_picture,
        keep_split=arguments.keep_split,
    )


def _refuse_stray_options(arguments: argparse.Namespace) -> None:
    """Raise for options that would be passed over in silence."""
    of_folder = ("licence", "patient_pattern", "one_patient_per_picture", "keep_split")
    stray = [name for name in of_folder if getattr(arguments, name) and arguments.folder is None]
    stray += ["collection"] if arguments.collection and not arguments.library else []
    if stray:
        named = stray[0].replace("_", "-")
        whose = "--library" if stray[0] == "collection" else "a folder"
        raise CdsError(Reason.INVALID_REQUEST, f"--{named} goes with {whose} only.")


def recipe_of(arguments: argparse.Namespace, *, keeps_projection: bool) -> Recipe:
    """Combine what is usual, the file, and the options, in this order."""
    from models.training.recipe import Recipe, changes_from_toml

    usual: dict[str, Any] = {"keeps_projection": keeps_projection, "patience": USUAL_PATIENCE}
    if arguments.freeze_blocks:
        recipe = Recipe(n_frozen_blocks=arguments.freeze_blocks, **usual)
    else:
        recipe = Recipe.full(**usual)
    changes = changes_from_toml(arguments.recipe) if arguments.recipe else {}
    for option, name in _RECIPE_OPTIONS.items():
        if getattr(arguments, option) is not None:
            changes[name] = getattr(arguments, option)
    if arguments.with_validation or changes.get("n_averaged_epochs"):
        changes["patience"] = 0
    return recipe.changed(changes)


def _print_outcome(outcome: Outcome, out: Path, console: Console) -> None:
    for place in outcome.measures["trained"]:
        console.print(f"\n{place}", style="bold", markup=False)
        for title, measures in outcome.measures.items():
            line = ", ".join(f"{name} {estimate}" for name, estimate in measures[place].items())
            console.print(f"  {title}: {line}", highlight=False, markup=False)
    if outcome.worse:
        console.print(f"Worse than the frozen start: {outcome.worse}.", style="bold", markup=False)
    console.print(
        f"Wrote the encoder {out.name}; torch and ONNX differ by {outcome.difference:.1e}. "
        "Its card is a beginning: a person has to finish it.",
        highlight=False,
        markup=False,
    )
