"""Where the augmented pictures of a batch come from: made afresh, or drawn from stored ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from models.training.augmentation import augmented
from models.training.features import augmented_activations, grey_batch, normalised

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from models.preprocessing import Preprocessing
    from models.training.batches import TrainingSet
    from models.training.recipe import Recipe

_BATCH_SIZE = 64
# Views per picture that the projection is fitted on where none are stored.
_N_PROJECTION_VIEWS = 2


class Views(Protocol):
    """Gives what enters the layers that are trained."""

    def draw(self, batch: NDArray[np.intp], generator: torch.Generator) -> torch.Tensor:
        """Return one augmented view ``(n, c, h, w)`` of each picture of a batch."""
        ...

    def pooled(self, late: nn.Module, generator: torch.Generator) -> torch.Tensor:
        """Return features of the untouched network: ``(n, views, n_features)``."""
        ...


class FreshViews:
    """Augments in each pass; the frozen layers, if any, run each time.

    Parameters
    ----------
    frozen
        The first blocks of a network.
    training_set
        The pictures.
    preprocessing
        Gives the normalisation.
    recipe
        Gives the augmentation and the size.

    """

    def __init__(
        self,
        frozen: nn.Module,
        training_set: TrainingSet,
        preprocessing: Preprocessing,
        recipe: Recipe,
    ) -> None:
        self._frozen = frozen
        self._squares = training_set.squares
        self._preprocessing = preprocessing
        self._recipe = recipe

    def draw(self, batch: NDArray[np.intp], generator: torch.Generator) -> torch.Tensor:
        """Return one view of each picture, behind the frozen layers."""
        with torch.no_grad():
            changed = augmented(
                grey_batch(self._squares[batch]),
                self._recipe.augmentation,
                generator,
                size_px=self._recipe.training_size_px,
            )
            activations: torch.Tensor = self._frozen(normalised(changed, self._preprocessing))
        return activations

    def pooled(self, late: nn.Module, generator: torch.Generator) -> torch.Tensor:
        """Return features of two views of each picture."""
        parts = np.array_split(
            np.arange(len(self._squares)), max(1, len(self._squares) // _BATCH_SIZE)
        )
        with torch.no_grad():
            views = [
                torch.cat([late(self.draw(part, generator)).mean(dim=(2, 3)) for part in parts])
                for _ in range(_N_PROJECTION_VIEWS)
            ]
        return torch.stack(views, dim=1)


class StoredViews:
    """Augments every picture several times beforehand and keeps the frozen layers' activations.

    Parameters
    ----------
    frozen, training_set, preprocessing, recipe
        As for `FreshViews`.
    generator
        The source of randomness.

    """

    def __init__(
        self,
        frozen: nn.Module,
        training_set: TrainingSet,
        preprocessing: Preprocessing,
        recipe: Recipe,
        generator: torch.Generator,
    ) -> None:
        views = [
            augmented_activations(
                frozen, training_set.squares, preprocessing, recipe.augmentation, generator
            )
            for _ in range(recipe.n_stored_views)
        ]
        self._stored = torch.from_numpy(np.stack(views, axis=1))

    def draw(self, batch: NDArray[np.intp], generator: torch.Generator) -> torch.Tensor:
        """Return one stored view of each picture."""
        chosen = torch.randint(self._stored.shape[1], (len(batch),), generator=generator)
        return _floats(self._stored[torch.from_numpy(batch), chosen])

    def pooled(self, late: nn.Module, generator: torch.Generator) -> torch.Tensor:
        """Return features of all stored views; `generator` is not used."""
        del generator
        with torch.no_grad():
            parts = [late(_floats(part.flatten(0, 1))) for part in self._stored.split(16)]
            pooled = torch.cat([part.mean(dim=(2, 3)) for part in parts])
        return pooled.reshape(*self._stored.shape[:2], -1)


def _floats(half: torch.Tensor) -> torch.Tensor:
    """Return stored activations as the layers take them."""
    return half.float().contiguous(memory_format=torch.channels_last)
