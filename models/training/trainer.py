"""The fine-tune: one source per batch, two views per picture, early layers frozen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from models.training.augmentation import AugmentationRule, augmented
from models.training.labels import LabelSpace
from models.training.losses import label_overlap, supervised_contrastive
from models.training.rows import UINT8_MAX, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from models.preprocessing import Preprocessing
    from models.training.mobilenet import RetrievalEncoder


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a training run can be told.

    Attributes
    ----------
    n_epochs
        Passes over the training pictures.
    seed
        Of batches, augmentation and heads.
    batch_size
        Pictures per batch; each is seen twice.
    n_frozen_blocks
        Blocks from the input on that keep their ImageNet weights.
    backbone_rate, head_rate
        Learning rates at their highest, of the network and of projection and heads.
    weight_decay
        Of AdamW.
    temperature
        Of the contrastive loss.
    head_weight
        Of the classification loss against the contrastive one.
    view_attraction
        Of the other view of the same picture, against 1 for another picture with equal labels.
    averaging
        Decay per step of the running average of weights that is kept.

    """

    n_epochs: int = 20
    seed: int = 0
    batch_size: int = 32
    n_frozen_blocks: int = 7
    backbone_rate: float = 2e-4
    head_rate: float = 1e-3
    weight_decay: float = 1e-2
    temperature: float = 0.1
    head_weight: float = 1.0
    view_attraction: float = 1.0
    averaging: float = 0.99
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


class _Heads(nn.Module):
    """One linear classifier per source with labels, on the unit-norm embedding."""

    # Logits of unit vectors need room; fixed, so that it cannot replace learning.
    _SCALE = 10.0

    def __init__(self, spaces: dict[str, LabelSpace], dimension: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(
            {s.source: nn.Linear(dimension, len(s.labels)) for s in spaces.values() if s.labels}
        )

    def loss(self, source: str, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if source not in self.layers:
            return embeddings.new_zeros(())
        logits = self.layers[source](embeddings * self._SCALE)
        return functional.binary_cross_entropy_with_logits(logits, labels)


def train(
    encoder: RetrievalEncoder,
    training_set: TrainingSet,
    preprocessing: Preprocessing,
    recipe: Recipe,
    after_epoch: Callable[[int, float, RetrievalEncoder], None],
) -> RetrievalEncoder:
    """Fine-tune an encoder in place and return the average of its late weights.

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
        Called with epoch (from 1), mean loss and the averaged encoder, for reports and checkpoints.

    Returns
    -------
    RetrievalEncoder
        The running average of the weights, in evaluation mode.

    """
    generator = torch.Generator().manual_seed(recipe.seed)
    torch.manual_seed(recipe.seed)
    heads = _Heads(training_set.spaces, encoder.projection.out_channels)
    encoder.network.blocks[: recipe.n_frozen_blocks].requires_grad_(requires_grad=False)
    optimizer = _optimizer(encoder, heads, recipe)
    n_steps = recipe.n_epochs * _n_batches(training_set, recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate_at(step / n_steps))
    average = torch.optim.swa_utils.AveragedModel(
        encoder, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.averaging)
    )
    for epoch in range(1, recipe.n_epochs + 1):
        losses = []
        for batch in _batches(training_set, recipe.batch_size, generator):
            loss = _batch_loss(
                encoder,
                heads,
                _views(training_set, batch, recipe, generator),
                preprocessing,
                recipe,
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(encoder)
            losses.append(float(loss.detach()))
        after_epoch(epoch, float(np.mean(losses)), average.module)
    averaged: RetrievalEncoder = average.module
    averaged.eval()
    return averaged


@dataclass(frozen=True, slots=True, eq=False)
class _Views:
    """Two views of each picture of a batch: grey ``(2 n, 1, h, w)``, labels ``(2 n, m)``."""

    source: str
    grey: torch.Tensor
    labels: torch.Tensor


def _views(
    training_set: TrainingSet,
    batch: NDArray[np.intp],
    recipe: Recipe,
    generator: torch.Generator,
) -> _Views:
    """Augment each picture of a batch twice."""
    rows = [training_set.rows[index] for index in batch.tolist()]
    grey = torch.from_numpy(training_set.squares[batch]).float().div(UINT8_MAX)[:, None]
    labels = torch.from_numpy(training_set.spaces[rows[0].source].indicator(rows))
    twice = augmented(torch.cat([grey, grey]), recipe.augmentation, generator)
    return _Views(rows[0].source, twice, torch.cat([labels, labels]))


def _batch_loss(
    encoder: RetrievalEncoder,
    heads: _Heads,
    views: _Views,
    preprocessing: Preprocessing,
    recipe: Recipe,
) -> torch.Tensor:
    """Contrast and classify one batch."""
    embeddings, _ = encoder(normalised(views.grey, preprocessing))
    n_pictures = views.grey.shape[0] // 2
    same_picture = torch.eye(n_pictures).repeat(2, 2)
    attraction = torch.maximum(label_overlap(views.labels), same_picture * recipe.view_attraction)
    contrast = supervised_contrastive(embeddings, attraction, temperature=recipe.temperature)
    return contrast + recipe.head_weight * heads.loss(views.source, embeddings, views.labels)


def normalised(grey: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Do the last step of preprocessing on a batch.

    Parameters
    ----------
    grey
        Shape ``(n, 1, h, w)``, float32 in [0, 1].
    preprocessing
        Gives mean and standard deviation.

    Returns
    -------
    torch.Tensor
        Shape ``(n, channels, h, w)``; equal to `Preprocessing.normalise` of each.

    """
    mean = torch.tensor(preprocessing.mean)[None, :, None, None]
    std = torch.tensor(preprocessing.std)[None, :, None, None]
    return ((grey - mean) / std).contiguous(memory_format=torch.channels_last)


def _optimizer(encoder: RetrievalEncoder, heads: _Heads, recipe: Recipe) -> torch.optim.AdamW:
    """Give the network a slower rate than what starts anew."""
    backbone = [p for p in encoder.network.parameters() if p.requires_grad]
    fresh = [*encoder.projection.parameters(), *heads.parameters()]
    return torch.optim.AdamW(
        [
            {"params": backbone, "lr": recipe.backbone_rate},
            {"params": fresh, "lr": recipe.head_rate},
        ],
        weight_decay=recipe.weight_decay,
    )


def _rate_at(progress: float) -> float:
    """Rise over the first twentieth, then fall along a cosine to a hundredth."""
    return max(0.01, min(1.0, progress / 0.05 + 0.01) * 0.5 * (1.0 + math.cos(math.pi * progress)))


def _n_batches(training_set: TrainingSet, batch_size: int) -> int:
    """Count the batches of an epoch."""
    return sum(1 for _ in _batches(training_set, batch_size, torch.Generator()))


def _batches(
    training_set: TrainingSet, batch_size: int, generator: torch.Generator
) -> Iterator[NDArray[np.intp]]:
    """Yield row indices: each batch of one source, sources mixed, remainders spread evenly."""
    batches = []
    for source in sorted(training_set.spaces):
        members = np.array([i for i, row in enumerate(training_set.rows) if row.source == source])
        order = torch.randperm(len(members), generator=generator).numpy()
        batches.extend(np.array_split(members[order], math.ceil(len(members) / batch_size)))
    for number in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[number]
