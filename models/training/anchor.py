"""The fixed part of an embedding: what the network said before it was trained.

A network that learns what sets a few findings apart forgets what it knew about everything else.
Its later blocks are therefore kept a second time with the weights that the training started from;
both read the blocks before them, which training left alone. A picture's embedding joins the two
directions, so that a cosine is the weighted mean of a learnt and a general one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

if TYPE_CHECKING:
    from models.training.mobilenet import RetrievalEncoder

_LEAST_VARIATION = 0.1  # of the mean feature vector's norm
_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class AnchorShape:
    """What must be known of an anchor before its weights can be read.

    Attributes
    ----------
    n_shared_blocks
        Blocks of the network that the anchor reads behind.
    dimension
        Components that it adds to an embedding.
    weight
        Of its direction beside the learnt one, which weighs 1, before unit norm.

    """

    n_shared_blocks: int
    dimension: int
    weight: float


class Anchor(nn.Module):
    """Fixed blocks and a fixed linear projection.

    Parameters
    ----------
    blocks
        From `AnchorShape.n_shared_blocks` on; copied.
    n_features
        Channels that they give.
    shape
        See there.

    """

    def __init__(self, blocks: nn.Sequential, n_features: int, shape: AnchorShape) -> None:
        super().__init__()
        self.shape = shape
        self.blocks = copy.deepcopy(blocks)
        self.projection = nn.Conv2d(n_features, shape.dimension, 1, bias=False)
        self.requires_grad_(requires_grad=False)

    def forward(self, shared: torch.Tensor) -> torch.Tensor:
        """Map activations behind the shared blocks to ``(n, dimension, h', w')``."""
        projected: torch.Tensor = self.projection(self.blocks(shared))
        return projected

    def fit(self, features: NDArray[np.float32]) -> None:
        """Project to the principal axes of the directions of features ``(n, n_features)``.

        The features themselves are not centred: what all pictures share then holds the directions
        of unlike pictures together, and small differences order the cases that are alike to the
        learnt part.
        """
        directions = features / np.linalg.norm(features, axis=1, keepdims=True)
        axes = principal_axes(directions - directions.mean(axis=0), self.shape.dimension)
        with torch.no_grad():
            self.projection.weight.copy_(torch.from_numpy(axes)[:, :, None, None])


def principal_projection(
    features: NDArray[np.float32], dimension: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the projection to centred principal axes, scaled to a mean norm of about one.

    Parameters
    ----------
    features
        Shape ``(n, c)``.
    dimension
        Axes to keep; beyond the rank of the features they are zero.

    Returns
    -------
    tuple of numpy.ndarray
        Weight ``(dimension, c)`` and bias ``(dimension,)``.

    """
    centre = features.mean(axis=0)
    # Where features hardly vary, their rounding must not become the embedding.
    least = _LEAST_VARIATION * np.linalg.norm(centre)
    scale = max(np.linalg.norm(features - centre, axis=1).mean(), least, _EPSILON)
    weight = principal_axes(features - centre, dimension) / np.float32(scale)
    return weight, -weight @ centre


def principal_axes(rows: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Return the first right singular vectors of rows ``(n, c)``: shape ``(dimension, c)``.

    Beyond the rank of the rows they are zero.
    """
    _, _, axes = np.linalg.svd(rows, full_matrices=False)
    kept = np.zeros((dimension, rows.shape[1]), dtype=np.float32)
    n_axes = min(len(axes), dimension)
    kept[:n_axes] = axes[:n_axes]
    return kept


def joined_map(learnt: torch.Tensor, general: torch.Tensor, weight: float) -> torch.Tensor:
    """Join two maps so that each one's mean over the places has a fixed norm.

    Parameters
    ----------
    learnt, general
        Shapes ``(n, d, h, w)`` and ``(n, e, h, w)``.
    weight
        Norm of the second mean; that of the first is 1.

    Returns
    -------
    torch.Tensor
        Shape ``(n, d + e, h, w)``; its mean, scaled to unit norm, is the embedding.

    """
    return torch.cat([_of_unit_mean(learnt), weight * _of_unit_mean(general)], dim=1)


def _of_unit_mean(feature_map: torch.Tensor) -> torch.Tensor:
    """Scale each picture's map so that its mean over the places has unit norm."""
    norm = torch.linalg.vector_norm(feature_map.mean(dim=(2, 3)), dim=1)
    return feature_map / norm.clamp(min=1e-12)[:, None, None, None]


def reduce_learnt(
    encoder: RetrievalEncoder, embeddings: NDArray[np.float32], dimension: int
) -> None:
    """Keep the principal components of what was learnt: few classes need few directions.

    Parameters
    ----------
    encoder
        Changed in place: its projection gets fewer outputs, its heads read those.
    embeddings
        Shape ``(n, d)``, of the training pictures.
    dimension
        Components to keep, at most d.

    """
    learnt = encoder.projection
    dimension = min(dimension, learnt.out_channels)
    axes = torch.from_numpy(principal_axes(embeddings, dimension))
    reduced = nn.Conv2d(learnt.in_channels, dimension, 1)
    with torch.no_grad():
        reduced.weight.copy_((axes @ learnt.weight[:, :, 0, 0])[:, :, None, None])
        reduced.bias.copy_(axes @ learnt.bias)
        encoder.projection = reduced
        if encoder.finding_heads is not None:
            encoder.finding_heads.read(axes)
