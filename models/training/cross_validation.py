"""One encoder per seed and fold: `python -m models.training.cross_validation --shared ../shared`.

Whole patients and near-duplicates are dealt to folds within each permissive source. For each fold
an encoder is trained on the other four, without looking at anything but their pictures and labels,
and its vectors are kept beside those of the frozen start, which sees the same pictures with the
same preprocessing. Pictures that nothing is trained on (other modalities, abdomen or chest) are
embedded by those of the first seed too. What is done is not done again; `--page` writes figures.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.preprocessing import Preprocessing
from models.training.batches import training_set_of
from models.training.comparison import TASKS
from models.training.cross_validation_page import (
    FoldVectors,
    Results,
    figures,
    replace_figures,
    tables,
)
from models.training.features import embeddings_of, pooled_features, unit_rows
from models.training.fold_pictures import FoldPictures, fold_pictures
from models.training.memory import keep_freed_memory
from models.training.mobilenet import RetrievalEncoder, start_from
from models.training.recipe import Recipe
from models.training.rows import permissive_rows
from models.training.trainer import train

N_SEEDS, N_FOLDS = 3, 5
PICTURES_FILE, FROZEN_FILE = "pictures.npz", "frozen.npz"
START = Path("weights/mobilenet_v2_imagenet.onnx")
RECIPE = Path(__file__).with_name("shipped_recipe.toml")


@dataclass(frozen=True, slots=True)
class Fold:
    """One training of the cross-validation.

    Attributes
    ----------
    shared, out
        Data and results.
    seed, number
        Of the deal, and the fold that is held out.
    recipe
        How to train; its seed is replaced.
    size_px
        Side of the input.

    """

    shared: Path
    out: Path
    seed: int
    number: int
    recipe: Recipe
    size_px: int

    @property
    def name(self) -> str:
        """Names its files."""
        return f"seed-{self.seed}-fold-{self.number}"

    @property
    def vectors(self) -> Path:
        """Where its vectors are kept."""
        return self.out / f"{self.name}.npz"


def main(argv: list[str] | None = None) -> int:
    """Train what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder with data/ and weights/")
    parser.add_argument("--out", type=Path, default=Path(".cache/cross-validation"))
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="TOML; as shipped if left out")
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--folds", type=int, default=N_FOLDS)
    parser.add_argument("--page", type=Path, help="Markdown page whose marked figures are replaced")
    arguments = parser.parse_args(argv)
    recipe = Recipe().changed(tomllib.loads(arguments.recipe.read_text("utf-8")))
    folds = [
        Fold(arguments.shared, arguments.out, seed, number, recipe, arguments.size_px)
        for seed in range(arguments.seeds)
        for number in range(arguments.folds)
    ]
    prepare(folds[0])
    for name in trained(folds, n_jobs=arguments.jobs):
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()
    found = figures(results(folds))
    text = tables(found)
    sys.stdout.write(text)
    if arguments.page is not None:
        replace_figures(arguments.page, text)
        beside = arguments.page.with_suffix(".json")
        beside.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def results(folds: list[Fold]) -> Results:
    """Read what the trainings left behind."""
    out = folds[0].out
    with np.load(out / FROZEN_FILE, allow_pickle=False) as held:
        frozen = held["vectors"]
    trainings = []
    for fold in folds:
        with np.load(fold.vectors, allow_pickle=False) as held:
            trainings.append(FoldVectors(fold.seed, fold.number, held["vectors"], held["folds"]))
    return Results(FoldPictures.read(out / PICTURES_FILE), frozen, trainings)


def prepare(any_fold: Fold) -> None:
    """Preprocess all pictures once, and embed them with the frozen start."""
    out, size_px = any_fold.out, any_fold.size_px
    settings = {"size_px": size_px, "recipe": any_fold.recipe.to_json()}
    out.mkdir(parents=True, exist_ok=True)
    stated = out / "settings.json"
    text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
    if stated.is_file() and stated.read_text("utf-8") != text:
        raise SystemExit(f"{out} holds folds of another recipe: name another --out.")
    stated.write_text(text, encoding="utf-8")
    if (out / FROZEN_FILE).is_file():
        return
    preprocessing = Preprocessing(size_px=size_px)
    pictures = fold_pictures(any_fold.shared / "data", preprocessing)
    pictures.write(out / PICTURES_FILE)
    network = start_from(any_fold.shared / START).encoder.network.eval()
    vectors = unit_rows(pooled_features(network, pictures.squares, preprocessing))
    np.savez(out / FROZEN_FILE, vectors=vectors)


def trained(folds: list[Fold], *, n_jobs: int) -> Iterator[str]:
    """Train the folds that are missing; yield the name of each as it ends."""
    missing = [fold for fold in folds if not fold.vectors.is_file()]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_jobs, mp_context=context) as pool:
        running = {pool.submit(train_fold, fold): fold.name for fold in missing}
        for done in as_completed(running):
            done.result()
            yield running[done]


def train_fold(fold: Fold) -> None:
    """Train on the other folds, and keep the vectors of every picture."""
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    preprocessing = Preprocessing(size_px=fold.size_px)
    pictures = FoldPictures.read(fold.out / PICTURES_FILE)
    folds = pictures.folds(N_FOLDS, seed=fold.seed)
    chosen = np.flatnonzero((folds >= 0) & (folds != fold.number))
    rows = {row.name: row for row in permissive_rows(fold.shared / "data")}
    members = [rows[pictures.names[index]] for index in chosen.tolist()]
    encoder = train(
        start_from(fold.shared / START).encoder,
        training_set_of(members, pictures.squares[chosen], TASKS, fold.recipe),
        preprocessing,
        fold.recipe.changed({"seed": 100 * fold.seed + fold.number}),
        _stop_when_alone(os.getppid()),
        fold.out / f"{fold.name}.checkpoint.npz",
    )
    # Pictures that nothing is trained on are embedded by the encoders of the first seed only.
    wanted = np.flatnonzero(pictures.trainable | (fold.seed == 0))
    vectors = np.full((len(pictures.names), encoder.dimension), np.nan, dtype=np.float32)
    vectors[wanted] = embeddings_of(encoder, pictures.squares[wanted], preprocessing)
    beside = fold.vectors.with_suffix(".part.npz")
    np.savez(beside, vectors=vectors, folds=folds)
    beside.replace(fold.vectors)


def _stop_when_alone(parent: int) -> Callable[[int, float, RetrievalEncoder], None]:
    """Return what is called after each epoch: it looks at no figure, which would be a leak.

    It ends a process whose parent was killed; its checkpoint is kept.
    """

    def after_epoch(epoch: int, loss: float, encoder: RetrievalEncoder) -> None:
        del epoch, loss, encoder
        if os.getppid() != parent:
            raise SystemExit("the cross-validation was stopped")

    return after_epoch


if __name__ == "__main__":
    sys.exit(main())
