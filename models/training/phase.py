"""A step of a training run that goes epoch by epoch and can be stopped and continued."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.training.averaging import KeptWeights
from models.training.checkpoints import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from models.training.batches import BatchPlan
    from models.training.mobilenet import RetrievalEncoder
    from models.training.recipe import Recipe

    LossOf = Callable[[str, NDArray[np.intp], torch.Generator], torch.Tensor]

_WARM_UP_SHARE = 0.05
_LOWEST_RATE = 0.01


class DivergedError(ValueError):
    """The loss is no longer a number."""


class Phase:
    """An optimiser, its schedule, the weights that are kept, and how far it has come.

    Parameters
    ----------
    name
        Kept in checkpoints; gives the phase randomness of its own.
    encoder
        What is trained, in place.
    groups
        Parameters with their highest learning rates, as torch's optimisers take them.
    n_epochs
        How far it goes.
    plan
        The batches.
    recipe
        Gives seed, weight decay, averaging and patience.

    """

    def __init__(  # a phase is made in one place
        self,
        name: str,
        encoder: RetrievalEncoder,
        groups: list[dict[str, Any]],
        n_epochs: int,
        *,
        plan: BatchPlan,
        recipe: Recipe,
    ) -> None:
        self.name = name
        self.epoch = 0
        self._encoder = encoder
        self._n_epochs = n_epochs
        self._plan = plan
        self._generator = seeded(recipe.seed, name)
        self._optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        n_steps = max(1, n_epochs * plan.n_batches)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: rate_at(step / n_steps)
        )
        self.kept = KeptWeights(encoder, recipe)

    def run(
        self,
        loss_of: LossOf,
        after_epoch: Callable[[int, float, RetrievalEncoder], float | None],
        save: Callable[[Checkpoint], None],
    ) -> None:
        """Go through the epochs that are left.

        Parameters
        ----------
        loss_of
            Maps source, row indices and generator to the loss of a batch.
        after_epoch
            As for `models.training.trainer.train`, with epochs from 1.
        save
            Called with the state after each epoch.

        Raises
        ------
        DivergedError
            If a loss is not finite.

        """
        while self.epoch < self._n_epochs and not self.kept.is_stale(self.epoch):
            loss = self._pass(loss_of)
            self.epoch += 1
            self.kept.after_epoch(self.epoch)
            current: RetrievalEncoder = self.kept.current.eval()
            self.kept.judge(self.epoch, after_epoch(self.epoch, loss, current))
            save(self.checkpoint())

    def checkpoint(self) -> Checkpoint:
        """Return the state of this phase."""
        state = self._schedule.state_dict()
        facts = {"phase": self.name, "epoch": self.epoch, "schedule": _without_functions(state)}
        checkpoint = Checkpoint(facts)
        checkpoint.add_tensors("trained", self._encoder.state_dict())
        checkpoint.add_tensors("random", {"state": self._generator.get_state()})
        checkpoint.add_optimizer(self._optimizer)
        self.kept.write_to(checkpoint)
        return checkpoint

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take the state of this phase from a checkpoint."""
        self.epoch = checkpoint.facts["epoch"]
        self._encoder.load_state_dict(checkpoint.tensors("trained"))
        self._generator.set_state(checkpoint.tensors("random")["state"])
        self._schedule.load_state_dict({**checkpoint.facts["schedule"], "lr_lambdas": []})
        checkpoint.fill_optimizer(self._optimizer)
        self.kept.read_from(checkpoint)

    def _pass(self, loss_of: LossOf) -> float:
        """Go once over all batches; return the mean loss."""
        losses = []
        for source, batch in self._plan.draw(self._generator):
            loss = loss_of(source, batch, self._generator)
            if not math.isfinite(float(loss.detach())):
                raise DivergedError(
                    f"the loss is not a number in epoch {self.epoch + 1}: lower the learning rates"
                )
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
            self._schedule.step()
            self.kept.after_step()
            losses.append(float(loss.detach()))
        return float(np.mean(losses))


def seeded(seed: int, name: str) -> torch.Generator:
    """Return a generator that depends on a run's seed and on what it is for."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))


def rate_at(progress: float) -> float:
    """Rise over the first twentieth, then fall along a cosine to a hundredth."""
    rising = min(1.0, progress / _WARM_UP_SHARE + _LOWEST_RATE)
    return max(_LOWEST_RATE, rising * 0.5 * (1.0 + math.cos(math.pi * progress)))


def _without_functions(state: dict[str, Any]) -> dict[str, Any]:
    """Return what JSON can hold of a schedule's state."""
    return {name: value for name, value in state.items() if name != "lr_lambdas"}
