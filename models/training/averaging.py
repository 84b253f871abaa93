"""Which weights of a run are kept: a running average, a mean of the last epochs, the best epoch."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from models.training.checkpoints import Checkpoint
    from models.training.recipe import Recipe


class KeptWeights:
    """The weights that a run would return if it stopped now.

    After each step the running average follows the trained network. After each epoch `current` is
    that average, or the plain mean of the averages of the last epochs; where the recipe has
    patience, `best` holds the epoch with the highest value on the validation side.

    Parameters
    ----------
    trained
        The network in training.
    recipe
        Gives the decay, the epochs to average and the patience.

    """

    def __init__(self, trained: nn.Module, recipe: Recipe) -> None:
        self._recipe = recipe
        self._trained = trained
        self._average = copy.deepcopy(trained)
        self.current = self._average
        if recipe.n_averaged_epochs:
            self.current = copy.deepcopy(trained)
        self._best: dict[str, torch.Tensor] = {}
        self._best_value: float | None = None
        self.best_epoch = 0
        self._has_begun = False

    def after_step(self) -> None:
        """Move the running average towards the trained network."""
        share = 1.0 - self._recipe.averaging if self._has_begun else 1.0
        _move(self._average, self._trained, share)
        self._has_begun = True

    def after_epoch(self, epoch: int) -> None:
        """Bring `current` up to date."""
        first = self._recipe.n_epochs - self._recipe.n_averaged_epochs
        if self.current is not self._average:
            _move(self.current, self._average, 1.0 / max(1, epoch - first))

    def judge(self, epoch: int, value: float | None) -> None:
        """Note the value of an epoch on the validation side; None and NaN are no value."""
        if not self._recipe.patience or value is None or math.isnan(value):
            return
        if self._best_value is None or value > self._best_value:
            self._best_value, self.best_epoch = value, epoch
            self._best = {n: v.clone() for n, v in self.current.state_dict().items()}

    def is_stale(self, epoch: int) -> bool:
        """Tell whether the patience is used up."""
        patience = self._recipe.patience
        return bool(patience and self._best) and epoch - self.best_epoch >= patience

    def final(self) -> nn.Module:
        """Return what is kept."""
        if self._best:
            self.current.load_state_dict(self._best)
        return self.current

    def write_to(self, checkpoint: Checkpoint) -> None:
        """Put everything into a checkpoint."""
        checkpoint.facts["best"] = [self._best_value, self.best_epoch]
        checkpoint.add_tensors("average", self._average.state_dict())
        checkpoint.add_tensors("best", self._best)
        if self.current is not self._average:
            checkpoint.add_tensors("current", self.current.state_dict())

    def read_from(self, checkpoint: Checkpoint) -> None:
        """Take everything from a checkpoint."""
        self._has_begun = True
        self._best_value, self.best_epoch = checkpoint.facts["best"]
        self._average.load_state_dict(checkpoint.tensors("average"))
        self._best = checkpoint.tensors("best")
        if self.current is not self._average:
            self.current.load_state_dict(checkpoint.tensors("current"))


def _move(target: nn.Module, towards: nn.Module, share: float) -> None:
    """Move all weights and statistics of a network by a share of the way to another's."""
    with torch.no_grad():
        pairs = list(zip(target.state_dict().values(), towards.state_dict().values(), strict=True))
        floats = [(mine, other) for mine, other in pairs if mine.is_floating_point()]
        torch._foreach_lerp_(
            [mine for mine, _ in floats], [other for _, other in floats], share
        )  # as torch's own averaging does
        for mine, other in pairs:
            if not mine.is_floating_point():
                mine.copy_(other)
