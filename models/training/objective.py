"""The loss of one batch: contrast and classification inside one source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from models.training.losses import label_overlap, supervised_contrastive

if TYPE_CHECKING:
    from models.training.labels import LabelSpace

# Logits of unit vectors need room; fixed, so that it cannot replace learning.
_LOGIT_SCALE = 10.0


class Objective(nn.Module):
    """Contrast by shared labels, plus one linear classifier per source that has labels.

    Every batch comes from one source: what sets sources apart is never rewarded.

    Parameters
    ----------
    spaces
        Source to label space.
    dimension
        Length of the embedding.
    temperature
        Of the contrastive loss.
    head_weight
        Of the classification loss against the contrastive one.

    """

    def __init__(
        self,
        spaces: dict[str, LabelSpace],
        dimension: int,
        *,
        temperature: float,
        head_weight: float,
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {
                space.source: nn.Linear(dimension, len(space.labels))
                for space in spaces.values()
                if space.labels
            }
        )
        self.temperature = temperature
        self.head_weight = head_weight

    def n_views(self, source: str) -> int:
        """Two views of each picture where there is no label to pull pictures together, else one."""
        return 1 if source in self.heads else 2

    def forward(self, source: str, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of ``n_views`` stacked views of each picture.

        Parameters
        ----------
        source
            Where all pictures of the batch come from.
        embeddings
            Shape ``(n_views * n, d)``, unit norm; all first views, then all second ones.
        labels
            Shape ``(n, m)``.

        Returns
        -------
        torch.Tensor
            A scalar.

        """
        n_views = embeddings.shape[0] // labels.shape[0]
        stacked = labels.repeat(n_views, 1)
        same_picture = torch.eye(labels.shape[0]).repeat(n_views, n_views)
        attraction = torch.maximum(label_overlap(stacked), same_picture)
        contrast = supervised_contrastive(embeddings, attraction, temperature=self.temperature)
        if source not in self.heads:
            return contrast
        logits = self.heads[source](embeddings * _LOGIT_SCALE)
        classification = functional.binary_cross_entropy_with_logits(logits, stacked)
        return contrast + self.head_weight * classification
