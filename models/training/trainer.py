"""Two steps: fit the projection on frozen features, then fine-tune the late layers with it.

Both read stored activations of augmented views: the layers that keep their weights, which take most
of the time, run once per view and not once per epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from models.training.augmentation import AugmentationRule
from models.training.features import augmented_activations
from models.training.labels import LabelSpace
from models.training.objective import Objective
from models.training.rows import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from models.preprocessing import Preprocessing
    from models.training.mobilenet import RetrievalEncoder

_WARM_UP_SHARE = 0.05
_LOWEST_RATE = 0.01


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a training run can be told.

    Attributes
    ----------
    n_epochs
        Passes of the fine-tune over the training pictures.
    n_projection_epochs
        Passes of the first step.
    n_stored_views
        Augmented views per picture, of which each pass draws one.
    seed
        Of batches, augmentation and heads.
    batch_size
        Pictures per batch.
    n_frozen_blocks
        Blocks from the input on that keep their ImageNet weights.
    projection_rate
        Learning rate of the first step.
    backbone_rate, head_rate
        Highest learning rates of the fine-tune, of the network and of projection and heads.
    weight_decay
        Of AdamW.
    temperature, head_weight
        Of the objective.
    averaging
        Decay per step of the running average of weights, which is what is kept.

    """

    n_epochs: int = 10
    n_projection_epochs: int = 30
    n_stored_views: int = 4
    seed: int = 0
    batch_size: int = 32
    n_frozen_blocks: int = 11
    projection_rate: float = 1e-3
    backbone_rate: float = 1e-4
    head_rate: float = 3e-4
    weight_decay: float = 1e-2
    temperature: float = 0.2
    head_weight: float = 1.0
    averaging: float = 0.98
    augmentation: AugmentationRule = field(default_factory=AugmentationRule)


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


def train(
    encoder: RetrievalEncoder,
    training_set: TrainingSet,
    preprocessing: Preprocessing,
    recipe: Recipe,
    after_epoch: Callable[[int, float, RetrievalEncoder], None],
) -> RetrievalEncoder:
    """Train an encoder in place and return the average of its late weights.

    Parameters
    ----------
    encoder
        Starts from ImageNet weights.
    training_set
        The training side only.
    preprocessing
        Gives the normalisation.
    recipe
        How.
    after_epoch
        Called with epoch, mean loss and the averaged encoder, for reports and checkpoints; epoch 0
        is the end of the first step.

    Returns
    -------
    RetrievalEncoder
        The running average of the weights, in evaluation mode.

    """
    run = _Run(encoder, training_set, preprocessing, recipe)
    run.store_views()
    after_epoch(0, run.fit_projection(), encoder)
    averaged = run.fine_tune(after_epoch)
    averaged.eval()
    return averaged


class _Run:
    """One training run: what both of its steps share."""

    def __init__(
        self,
        encoder: RetrievalEncoder,
        training_set: TrainingSet,
        preprocessing: Preprocessing,
        recipe: Recipe,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.encoder = encoder
        self.training_set = training_set
        self.preprocessing = preprocessing
        self.recipe = recipe
        self.frozen = encoder.network.blocks[: recipe.n_frozen_blocks]
        self.late = encoder.network.blocks[recipe.n_frozen_blocks :]
        self.stored = torch.empty(0)
        self.objective = Objective(
            training_set.spaces,
            encoder.projection.out_channels,
            temperature=recipe.temperature,
            head_weight=recipe.head_weight,
        )

    def store_views(self) -> None:
        """Augment every picture several times and run the frozen blocks on each view."""
        views = [
            augmented_activations(
                self.frozen,
                self.training_set.squares,
                self.preprocessing,
                self.recipe.augmentation,
                self.generator,
            )
            for _ in range(self.recipe.n_stored_views)
        ]
        self.stored = torch.from_numpy(np.stack(views, axis=1))

    def fit_projection(self) -> float:
        """Fit projection and heads on features of the untouched network; return the last loss."""
        with torch.no_grad():
            parts = [self.late(_floats(part.flatten(0, 1))) for part in self.stored.split(16)]
            pooled = torch.cat([part.mean(dim=(2, 3)) for part in parts])
        _start_on_principal_axes(self.encoder, pooled.numpy())
        features = pooled.reshape(*self.stored.shape[:2], -1, 1, 1)
        parameters = [*self.encoder.projection.parameters(), *self.objective.parameters()]
        optimizer = torch.optim.AdamW(
            parameters, lr=self.recipe.projection_rate, weight_decay=self.recipe.weight_decay
        )

        def drawn(batch: NDArray[np.intp]) -> torch.Tensor:
            return self.encoder.projected(self._views_of(features, batch))[0]

        loss = math.nan
        for _ in range(self.recipe.n_projection_epochs):
            loss = self._epoch(drawn, optimizer, lambda: None)
        return loss

    def fine_tune(
        self, after_epoch: Callable[[int, float, RetrievalEncoder], None]
    ) -> RetrievalEncoder:
        """Train late layers, projection and heads; return the running average."""
        recipe = self.recipe
        self.frozen.requires_grad_(requires_grad=False)
        optimizer = self._optimizer()
        n_steps = recipe.n_epochs * sum(1 for _ in self._batches())
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: _rate_at(step / max(1, n_steps))
        )
        average = torch.optim.swa_utils.AveragedModel(
            self.encoder, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.averaging)
        )
        averaged: RetrievalEncoder = average.module

        def drawn(batch: NDArray[np.intp]) -> torch.Tensor:
            views = _floats(self._views_of(self.stored, batch))
            return self.encoder.projected(self.late(views))[0]

        def after_step() -> None:
            schedule.step()
            average.update_parameters(self.encoder)

        for epoch in range(1, recipe.n_epochs + 1):
            after_epoch(epoch, self._epoch(drawn, optimizer, after_step), averaged)
        return averaged

    def _views_of(self, stored: torch.Tensor, batch: NDArray[np.intp]) -> torch.Tensor:
        """Draw one stored view ``(n, views, ...)`` of each picture of a batch."""
        chosen = torch.randint(stored.shape[1], (len(batch),), generator=self.generator)
        return stored[torch.from_numpy(batch), chosen]

    def _epoch(
        self,
        drawn: Callable[[NDArray[np.intp]], torch.Tensor],
        optimizer: torch.optim.Optimizer,
        after_step: Callable[[], None],
    ) -> float:
        """Go once over all batches; return the mean loss."""
        losses = []
        for source, batch in self._batches():
            views = [drawn(batch) for _ in range(self.objective.n_views(source))]
            loss = self.objective(source, torch.cat(views), self.training_set.labels(batch))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            after_step()
            losses.append(float(loss.detach()))
        return float(np.mean(losses))

    def _optimizer(self) -> torch.optim.AdamW:
        """Give the network a slower rate than projection and heads."""
        network = [p for p in self.encoder.network.parameters() if p.requires_grad]
        rest = [*self.encoder.projection.parameters(), *self.objective.parameters()]
        return torch.optim.AdamW(
            [
                {"params": network, "lr": self.recipe.backbone_rate},
                {"params": rest, "lr": self.recipe.head_rate},
            ],
            weight_decay=self.recipe.weight_decay,
        )

    def _batches(self) -> Iterator[tuple[str, NDArray[np.intp]]]:
        """Yield source and row indices: one source per batch, sources mixed, sizes even."""
        batches = []
        for source in sorted(self.training_set.spaces):
            members = np.array(
                [i for i, row in enumerate(self.training_set.rows) if row.source == source]
            )
            order = torch.randperm(len(members), generator=self.generator).numpy()
            n_parts = max(1, round(len(members) / self.recipe.batch_size))
            batches += [(source, part) for part in np.array_split(members[order], n_parts)]
        for number in torch.randperm(len(batches), generator=self.generator).tolist():
            yield batches[number]


def _floats(half: torch.Tensor) -> torch.Tensor:
    """Return stored activations as the layers take them."""
    return half.float().contiguous(memory_format=torch.channels_last)


def _start_on_principal_axes(encoder: RetrievalEncoder, features: NDArray[np.float32]) -> None:
    """Set the projection to the centred principal axes of features ``(n, n_features)``."""
    centre = features.mean(axis=0)
    _, _, axes = np.linalg.svd(features - centre, full_matrices=False)
    weight = np.zeros(encoder.projection.weight.shape[:2], dtype=np.float32)
    n_axes = min(len(axes), len(weight))
    weight[:n_axes] = axes[:n_axes]
    with torch.no_grad():
        encoder.projection.weight.copy_(torch.from_numpy(weight)[:, :, None, None])
        encoder.projection.bias.copy_(torch.from_numpy(-weight @ centre))


def _rate_at(progress: float) -> float:
    """Rise over the first twentieth, then fall along a cosine to a hundredth."""
    rising = min(1.0, progress / _WARM_UP_SHARE + _LOWEST_RATE)
    return max(_LOWEST_RATE, rising * 0.5 * (1.0 + math.cos(math.pi * progress)))
