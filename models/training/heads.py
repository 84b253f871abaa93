"""One linear classifier per source: its labels are never compared with those of another source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.training.labels import LabelSpace

# Logits of unit vectors need room; fixed, so that it cannot replace learning.
LOGIT_SCALE = 10.0


class FindingHeads(nn.Module):
    """The classifiers of all sources that have labels.

    Parameters
    ----------
    spaces
        Source to label space; those without labels get no head.
    dimension
        Length of the embedding.

    """

    def __init__(self, spaces: Mapping[str, LabelSpace], dimension: int) -> None:
        super().__init__()
        self.spaces = [space for _, space in sorted(spaces.items()) if space.labels]
        # Numbers, not names: a source's name may hold a point, which a module's may not.
        self.number_of = {space.source: number for number, space in enumerate(self.spaces)}
        self.heads = nn.ModuleList(
            [nn.Linear(dimension, len(space.labels)) for space in self.spaces]
        )

    def __contains__(self, source: str) -> bool:
        return source in self.number_of

    def of_source(self, source: str, embeddings: torch.Tensor) -> torch.Tensor:
        """Map embeddings ``(n, d)`` of one source to the logits ``(n, m)`` of its labels."""
        logits: torch.Tensor = self.heads[self.number_of[source]](embeddings * LOGIT_SCALE)
        return logits

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Map embeddings ``(n, d)`` to the logits of all heads, in the order of `names`."""
        return torch.cat([head(embeddings * LOGIT_SCALE) for head in self.heads], dim=1)

    def read(self, axes: torch.Tensor) -> None:
        """Take the components of embeddings along axes ``(d', d)`` instead of all ``d``."""
        for number, head in enumerate(self.heads):
            reading = nn.Linear(axes.shape[0], head.out_features)
            with torch.no_grad():
                reading.weight.copy_(head.weight @ axes.T)
                reading.bias.copy_(head.bias)
            self.heads[number] = reading

    @property
    def names(self) -> list[str]:
        """Return "source: label" of each logit."""
        return [f"{space.source}: {label}" for space in self.spaces for label in space.labels]
