"""A run of a tiny network that a test can start, kill and compare (``python -m`` this)."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.preprocessing import Preprocessing
from models.training.labels import label_spaces
from models.training.mobilenet import MobileNetV2, RetrievalEncoder
from models.training.recipe import Recipe
from models.training.rows import Row, rounded
from models.training.trainer import TrainingSet, train
from tests.train.pictures import BLOB, PLAIN, a_varied_radiograph

SMALL = Preprocessing(size_px=64)
STAGES = ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2), (6, 16, 1, 2), (6, 24, 1, 2))
SOURCE = "here.v1"  # a point, as a collection's name may have
RECIPE = Recipe.full(n_epochs=3, n_projection_epochs=2, n_self_supervised_epochs=2, batch_size=8)


def a_network() -> MobileNetV2:
    """A network of five small blocks, always with the same weights."""
    torch.manual_seed(5)
    return MobileNetV2(STAGES, n_features=48)


def an_encoder() -> RetrievalEncoder:
    """Such a network with a projection."""
    return RetrievalEncoder(a_network(), dimension=16)


def a_training_set(n_pictures: int = 24) -> TrainingSet:
    """Pictures with and without a blob."""
    rows = []
    squares = []
    for number in range(n_pictures):
        has_blob = number % 3 == 0
        label = BLOB if has_blob else PLAIN
        rows.append(Row(SOURCE, Path(f"{number}.png"), f"p{number}", frozenset({label}), "free"))
        square = SMALL.grey_square(a_varied_radiograph(number, has_blob=has_blob))
        squares.append(rounded(square))
    return TrainingSet(rows, np.stack(squares), label_spaces(rows))


def weights_after(
    recipe: Recipe,
    checkpoint: Path | None = None,
    *,
    killed_after: int | None = None,
    best_epoch: int = 1,
) -> dict[str, NDArray[np.float32]]:
    """Train and return all weights; ``kill -9`` after an epoch, before it is kept."""

    def after_epoch(epoch: int, _loss: float, _encoder: RetrievalEncoder) -> float:
        if epoch == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return float(epoch == best_epoch)

    trained = train(an_encoder(), a_training_set(), SMALL, recipe, after_epoch, checkpoint)
    return {name: value.numpy() for name, value in trained.state_dict().items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    weights_after(RECIPE, Path(sys.argv[1]), killed_after=int(sys.argv[2]))
