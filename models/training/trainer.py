"""Trains an encoder: a warm-up without labels, the projection, then the fine-tune with it.

The fine-tune reads either views that are augmented afresh in each pass and go through the whole
network, or stored activations of augmented views: the layers that keep their weights, which take
most of the time, then run once per view and not once per epoch.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.training.anchor import (
    Anchor,
    AnchorShape,
    principal_projection,
    reduce_learnt,
)
from models.training.augmentation import mixed
from models.training.batches import BatchPlan, TrainingSet
from models.training.checkpoints import Checkpoint, CheckpointError
from models.training.features import embeddings_of, pooled_features
from models.training.heads import FindingHeads
from models.training.losses import supervised_contrastive
from models.training.normalisation import fold_batch_norm, insert_batch_norm
from models.training.objective import Objective, label_weights
from models.training.phase import Phase, seeded
from models.training.recipe import Recipe
from models.training.views import FreshViews, StoredViews, Views

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from models.preprocessing import Preprocessing
    from models.training.mobilenet import RetrievalEncoder

    AfterEpoch = Callable[[int, float, RetrievalEncoder], float | None]

__all__ = ["Recipe", "TrainingSet", "train"]

_WARM_UP = "warm-up"
_FINE_TUNE = "fine-tune"
# Pictures whose statistics a batch normalisation starts from, and how many at a time.
_N_NORMALISATION_PICTURES = 256
_NORMALISATION_BATCH = 32


def train(  # the sixth is optional
    encoder: RetrievalEncoder,
    training_set: TrainingSet,
    preprocessing: Preprocessing,
    recipe: Recipe,
    after_epoch: AfterEpoch,
    checkpoint: Path | None = None,
) -> RetrievalEncoder:
    """Train an encoder in place and return the weights that are kept.

    The same arguments, number of threads and library versions give the same weights on the CPU,
    whether or not the run was stopped in between.

    Parameters
    ----------
    encoder
        With the weights to start from. If it has an anchor and the recipe asks for none, it keeps
        its own, and the blocks that this reads behind stay frozen.
    training_set
        The training side only.
    preprocessing
        Gives the normalisation.
    recipe
        How.
    after_epoch
        Called with epoch, mean loss and the encoder that would be kept now, for reports; epoch 0 is
        the end of the first step, negative ones are the self-supervised warm-up. What it returns is
        the value on the validation side (higher is better) that patience looks at, or None.
    checkpoint
        An npz file that is written after each epoch; where it exists already, the run goes on from
        it. None keeps nothing.

    Returns
    -------
    RetrievalEncoder
        In evaluation mode, with `finding_heads`.

    Raises
    ------
    CheckpointError
        If the checkpoint is damaged or belongs to other arguments.

    """
    torch.manual_seed(recipe.seed)
    encoder.to(memory_format=torch.channels_last).eval()
    earlier, encoder.anchor = encoder.anchor, None
    if earlier is not None and not recipe.anchor_dimension:
        n_frozen_blocks = max(recipe.n_frozen_blocks, earlier.shape.n_shared_blocks)
        recipe = dataclasses.replace(recipe, n_frozen_blocks=n_frozen_blocks)
    encoder.finding_heads = FindingHeads(training_set.spaces, encoder.projection.out_channels)
    run = _Run(encoder, encoder.finding_heads, training_set, preprocessing, recipe)
    anchor = run.anchor(earlier)
    kept = run.through(after_epoch, checkpoint)
    fold_batch_norm(kept)
    if recipe.learnt_dimension:
        embedded = embeddings_of(kept.eval(), training_set.squares, preprocessing)
        reduce_learnt(kept, embedded, recipe.learnt_dimension)
    kept.anchor = anchor
    kept.test_zooms = recipe.test_zooms
    kept.eval()
    return kept


class _Run:
    """One training run: what its steps share."""

    def __init__(
        self,
        encoder: RetrievalEncoder,
        heads: FindingHeads,
        training_set: TrainingSet,
        preprocessing: Preprocessing,
        recipe: Recipe,
    ) -> None:
        self.encoder = encoder
        self.training_set = training_set
        self.preprocessing = preprocessing
        self.recipe = recipe
        self.plan = BatchPlan(training_set, recipe)
        weights = {}
        if recipe.balance == "loss":
            weights = label_weights(training_set.spaces, training_set.rows)
        self.objective = Objective(heads, recipe, weights)
        self.frozen = encoder.network.blocks[: recipe.n_frozen_blocks]
        self.frozen.requires_grad_(requires_grad=False)
        self.late = encoder.network.blocks[recipe.n_frozen_blocks :]
        self._prepare_normalisation()

    def through(self, after_epoch: AfterEpoch, checkpoint: Path | None) -> RetrievalEncoder:
        """Do every step that the checkpoint does not hold yet."""
        identity = self._identity() if checkpoint is not None else ""
        reached = Checkpoint.read(checkpoint) if checkpoint is not None else None
        if reached is not None and reached.facts.get("identity") != identity:
            raise CheckpointError("the checkpoint belongs to other pictures or another recipe")

        def save(state: Checkpoint) -> None:
            if checkpoint is not None:
                state.facts["identity"] = identity
                state.write(checkpoint)

        value = None
        if reached is None or reached.facts["phase"] != _FINE_TUNE:
            self._warm_up(after_epoch, reached, save)
            value = after_epoch(0, self._fit_projection(), self.encoder.eval())
            reached = None
        fine_tune = Phase(
            _FINE_TUNE,
            self.encoder,
            self._groups(),
            self.recipe.n_epochs,
            plan=self.plan,
            recipe=self.recipe,
        )
        if reached is None:
            fine_tune.kept.judge(0, value)
            save(fine_tune.checkpoint())
        else:
            fine_tune.resume(reached)
        self.late.train(self.recipe.normalisation == "batch")
        fine_tune.run(self._loss, after_epoch, save)
        kept: RetrievalEncoder = fine_tune.kept.final()
        return kept

    def anchor(self, earlier: Anchor | None) -> Anchor | None:
        """Return what is kept of the start; to be called before anything is trained."""
        recipe = self.recipe
        if not recipe.anchor_dimension:
            return earlier
        shape = AnchorShape(recipe.n_frozen_blocks, recipe.anchor_dimension, recipe.anchor_weight)
        anchor = Anchor(self.late, self.encoder.network.n_features, shape)
        squares, preprocessing = self.training_set.squares, self.preprocessing
        anchor.fit(pooled_features(self.encoder.network, squares, preprocessing))
        return anchor

    def _warm_up(
        self,
        after_epoch: AfterEpoch,
        reached: Checkpoint | None,
        save: Callable[[Checkpoint], None],
    ) -> None:
        """Train on pairs of views of the same picture; labels are not looked at."""
        n_epochs = self.recipe.n_self_supervised_epochs
        if not n_epochs:
            return
        recipe = dataclasses.replace(self.recipe, patience=0, n_averaged_epochs=0)
        if not recipe.keeps_projection:
            self._start_projection(self.views.pooled(self.late, seeded(recipe.seed, "axes")))
        phase = Phase(
            _WARM_UP, self.encoder, self._groups(), n_epochs, plan=self.plan, recipe=recipe
        )
        if reached is not None:
            phase.resume(reached)
        self.late.train(self.recipe.normalisation == "batch")
        phase.run(
            self._unlabelled_loss,
            lambda epoch, loss, kept: after_epoch(epoch - n_epochs - 1, loss, kept),
            save,
        )
        self.encoder.load_state_dict(phase.kept.final().state_dict())

    def _fit_projection(self) -> float:
        """Fit projection and heads on features of the network as it is; return the last loss."""
        generator = seeded(self.recipe.seed, "projection")
        pooled = self.views.pooled(self.late.eval(), generator)
        if not self.recipe.keeps_projection:
            self._start_projection(pooled)
        optimizer = torch.optim.AdamW(
            [*self.encoder.projection.parameters(), *self.objective.heads.parameters()],
            lr=self.recipe.projection_rate,
            weight_decay=self.recipe.weight_decay,
        )
        loss = math.nan
        for _ in range(self.recipe.n_projection_epochs):
            losses = []
            for source, batch in self.plan.draw(generator):
                n_rows = len(batch) * self.objective.n_views(source)
                chosen = torch.randint(pooled.shape[1], (n_rows,), generator=generator)
                rows = torch.from_numpy(batch).repeat(self.objective.n_views(source))
                features = pooled[rows, chosen][:, :, None, None]
                embeddings = self.encoder.projected(features)[0]
                labels = self.training_set.labels(batch)
                value = self.objective.loss(source, embeddings, labels)
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                optimizer.step()
                losses.append(float(value.detach()))
            loss = float(np.mean(losses))
        return loss

    def _loss(
        self, source: str, batch: NDArray[np.intp], generator: torch.Generator
    ) -> torch.Tensor:
        """Return the loss of a batch with its labels."""
        drawn = self._drawn(batch, self.objective.n_views(source), generator)
        labels = self.training_set.labels(batch)
        if self.recipe.mixing and len(drawn) == len(labels):
            drawn, labels = mixed(drawn, labels, self.recipe.mixing, generator)
        embeddings = self.encoder.projected(self._features(drawn))[0]
        return self.objective.loss(source, embeddings, labels)

    def _unlabelled_loss(
        self, source: str, batch: NDArray[np.intp], generator: torch.Generator
    ) -> torch.Tensor:
        """Return the contrast of two views of each picture against the others of its source."""
        del source
        embeddings = self.encoder.projected(self._features(self._drawn(batch, 2, generator)))[0]
        same_picture = torch.eye(len(batch)).repeat(2, 2)
        return supervised_contrastive(embeddings, same_picture, temperature=self.recipe.temperature)

    def _drawn(
        self, batch: NDArray[np.intp], n_views: int, generator: torch.Generator
    ) -> torch.Tensor:
        """Return stacked views of a batch, as they enter the layers that are trained."""
        return torch.cat([self.views.draw(batch, generator) for _ in range(n_views)])

    def _features(self, drawn: torch.Tensor) -> torch.Tensor:
        """Return the last feature maps of what `_drawn` gave."""
        is_short = self.recipe.precision == "bfloat16"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_short):
            features: torch.Tensor = self.late(drawn)
        return features.float()

    def _groups(self) -> list[dict[str, Any]]:
        """Give the network a slower rate than projection and heads."""
        network = [p for p in self.encoder.network.parameters() if p.requires_grad]
        rest = [*self.encoder.projection.parameters(), *self.objective.heads.parameters()]
        groups = [
            {"params": network, "lr": self.recipe.backbone_rate},
            {"params": rest, "lr": self.recipe.head_rate},
        ]
        return [group for group in groups if group["params"]]

    @functools.cached_property
    def views(self) -> Views:
        """Fresh views, or stored ones; made when they are needed: a finished run needs none."""
        parts = (self.frozen, self.training_set, self.preprocessing, self.recipe)
        if not self.recipe.n_stored_views:
            return FreshViews(*parts)
        return StoredViews(*parts, seeded(self.recipe.seed, "views"))

    def _prepare_normalisation(self) -> None:
        """Put batch normalisation into the trained layers where the recipe asks for it."""
        if self.recipe.normalisation == "folded":
            return
        generator = seeded(self.recipe.seed, "normalisation")
        order = torch.randperm(len(self.training_set.rows), generator=generator).numpy()
        chosen = order[:_N_NORMALISATION_PICTURES]
        insert_batch_norm(
            self.late,
            (
                self.views.draw(part, generator)
                for part in np.array_split(chosen, max(1, len(chosen) // _NORMALISATION_BATCH))
            ),
        )

    def _start_projection(self, pooled: torch.Tensor) -> None:
        """Set the projection to the centred principal axes of features ``(n, views, c)``.

        Scaled so that projected features have a mean norm of about one: a learning rate then means
        the same whatever the network's features measure.
        """
        projection = self.encoder.projection
        weight, bias = principal_projection(pooled.flatten(0, 1).numpy(), projection.out_channels)
        with torch.no_grad():
            projection.weight.copy_(torch.from_numpy(weight)[:, :, None, None])
            projection.bias.copy_(torch.from_numpy(bias))

    def _identity(self) -> str:
        """Return a hash of everything that decides what this run computes."""
        digest = hashlib.sha256()
        # What comes after the training is not part of it.
        recipe = dataclasses.replace(
            self.recipe, anchor_dimension=0, anchor_weight=1.0, learnt_dimension=0
        )
        digest.update(json.dumps(recipe.to_json(), sort_keys=True).encode())
        digest.update(self.preprocessing.hash.encode())
        digest.update(np.ascontiguousarray(self.training_set.squares).tobytes())
        for row in self.training_set.rows:
            digest.update(f"{row.name} {sorted(row.labels)}".encode())
        for tensor in self.encoder.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()
