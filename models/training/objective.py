"""The loss of one batch: contrast and classification inside one source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from models.training.heads import FindingHeads
from models.training.losses import label_overlap, supervised_contrastive
from models.training.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.training.labels import LabelSpace
    from models.training.rows import Row

# A rare label weighs at most so much more (and a frequent one so much less) than the others.
_MAXIMUM_WEIGHT = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """Contrast by shared labels, plus one linear classifier per source that has labels.

    Every batch comes from one source: what sets sources apart is never rewarded. Where the labels
    of a source exclude each other the classification is a cross-entropy, else one binary
    cross-entropy per label.

    Attributes
    ----------
    heads
        The classifiers.
    recipe
        Gives temperature, weights and label smoothing.
    label_weights
        Source to the weight ``(m,)`` of each label; absent where all weigh the same.

    """

    heads: FindingHeads
    recipe: Recipe
    label_weights: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def n_views(self, source: str) -> int:
        """Two views of each picture where there is no label to pull pictures together, else one."""
        return 1 if source in self.heads else 2

    def loss(self, source: str, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of ``n_views`` stacked views of each picture.

        Parameters
        ----------
        source
            Where all pictures of the batch come from.
        embeddings
            Shape ``(n_views * n, d)``, unit norm; all first views, then all second ones.
        labels
            Shape ``(n, m)``, in [0, 1].

        Returns
        -------
        torch.Tensor
            A scalar.

        """
        n_views = embeddings.shape[0] // labels.shape[0]
        stacked = labels.repeat(n_views, 1)
        same_picture = torch.eye(labels.shape[0]).repeat(n_views, n_views)
        attraction = torch.maximum(label_overlap(stacked), same_picture)
        contrast = supervised_contrastive(
            embeddings, attraction, temperature=self.recipe.temperature
        )
        if source not in self.heads:
            return contrast
        classification = self._classification(source, embeddings, stacked)
        return self.recipe.contrast_weight * contrast + self.recipe.head_weight * classification

    def _classification(
        self, source: str, embeddings: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the classification loss of one source."""
        logits = self.heads.of_source(source, embeddings)
        weights = self.label_weights.get(source)
        smoothing = self.recipe.label_smoothing
        if self.heads.spaces[self.heads.number_of[source]].is_exclusive:
            wanted = labels if self.recipe.mixing else labels.argmax(dim=1)
            return functional.cross_entropy(
                logits, wanted, weight=weights, label_smoothing=smoothing
            )
        smoothed = labels * (1.0 - smoothing) + 0.5 * smoothing
        return functional.binary_cross_entropy_with_logits(logits, smoothed, pos_weight=weights)


def label_weights(spaces: Mapping[str, LabelSpace], rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Weigh each label by its rarity among the training rows of its source.

    Parameters
    ----------
    spaces
        Source to label space.
    rows
        The training side.

    Returns
    -------
    dict
        Source to ``(m,)``: for labels that exclude each other, the mean count by the label's count;
        else pictures without by pictures with the label; within a factor of 10 of 1.

    """
    weights = {}
    for source, space in spaces.items():
        if not space.labels:
            continue
        indicator = space.indicator([row for row in rows if row.source == source])
        n_with = torch.from_numpy(indicator.sum(axis=0)).clamp(min=1.0)
        ratio = n_with.mean() / n_with if space.is_exclusive else (len(indicator) - n_with) / n_with
        weights[source] = ratio.clamp(1.0 / _MAXIMUM_WEIGHT, _MAXIMUM_WEIGHT)
    return weights
