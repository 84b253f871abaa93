"""The batches of one pass: one source each, sources mixed, sizes even."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.training.labels import LabelSpace, label_spaces, of_classes, rarity_weights
from models.training.recipe import Recipe, RecipeError
from models.training.rows import Row


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """The training side, in memory.

    Attributes
    ----------
    rows
        The pictures, in the order of `squares`.
    squares
        Shape ``(n, size, size)``, uint8, preprocessed but for normalisation.
    spaces
        Source to label space.

    """

    rows: Sequence[Row]
    squares: NDArray[np.uint8]
    spaces: dict[str, LabelSpace]

    def labels(self, batch: NDArray[np.intp]) -> torch.Tensor:
        """Return the labels of rows of one source, ``(n, m)``."""
        rows = [self.rows[index] for index in batch.tolist()]
        return torch.from_numpy(self.spaces[rows[0].source].indicator(rows))


def training_set_of(
    rows: Sequence[Row],
    squares: NDArray[np.uint8],
    classes: Mapping[str, tuple[str, ...]],
    recipe: Recipe,
) -> TrainingSet:
    """Make the training side that a recipe asks for.

    Parameters
    ----------
    rows, squares
        What may be trained on.
    classes
        Source to the classes by which retrieval within it is measured.
    recipe
        Says what is learnt.

    Raises
    ------
    RecipeError
        If classes are asked for and no picture has one.

    """
    if recipe.targets == "classes":
        kept, rows = of_classes(rows, classes)
        if not kept:
            raise RecipeError("no source has two classes, so that there is nothing to train on")
        squares = squares[kept]
    return TrainingSet(rows, squares, label_spaces(rows))


class BatchPlan:
    """Draws the batches of each pass.

    Parameters
    ----------
    training_set
        The training side.
    recipe
        Gives the batch size, and whether rare labels are drawn more often.

    """

    def __init__(self, training_set: TrainingSet, recipe: Recipe) -> None:
        self._members = {
            source: np.array([i for i, row in enumerate(training_set.rows) if row.source == source])
            for source in sorted({row.source for row in training_set.rows})
        }
        self._weights: dict[str, torch.Tensor] = {}
        if recipe.balance == "sampling":
            for source, members in self._members.items():
                rows = [training_set.rows[index] for index in members.tolist()]
                weights = rarity_weights(training_set.spaces[source], rows)
                self._weights[source] = torch.from_numpy(weights)
        self._batch_size = recipe.batch_size

    @property
    def n_batches(self) -> int:
        """Batches of one pass."""
        return sum(self._n_parts(members) for members in self._members.values())

    def draw(self, generator: torch.Generator) -> list[tuple[str, NDArray[np.intp]]]:
        """Return source and row indices of each batch of one pass.

        Parameters
        ----------
        generator
            The source of randomness.

        """
        batches = []
        for source, members in self._members.items():
            if source in self._weights:
                order = torch.multinomial(
                    self._weights[source], len(members), replacement=True, generator=generator
                ).numpy()
            else:
                order = torch.randperm(len(members), generator=generator).numpy()
            parts = np.array_split(members[order], self._n_parts(members))
            batches += [(source, part) for part in parts]
        return [batches[n] for n in torch.randperm(len(batches), generator=generator).tolist()]

    def _n_parts(self, members: NDArray[np.intp]) -> int:
        return max(1, round(len(members) / self._batch_size))
