"""Random changes that leave a finding where it is: shift, exposure, noise; never a flip."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from models.training.recipe import AugmentationRule

__all__ = ["AugmentationRule", "augmented"]


def augmented(
    images: torch.Tensor, rule: AugmentationRule, generator: torch.Generator, *, size_px: int = 0
) -> torch.Tensor:
    """Change each picture at random.

    Parameters
    ----------
    images
        Shape ``(n, 1, h, w)``, float32 in [0, 1].
    rule
        How far.
    generator
        The source of randomness.
    size_px
        Side of the result; 0 keeps the shape.

    Returns
    -------
    torch.Tensor
        Shape ``(n, 1, h, w)`` or ``(n, 1, size_px, size_px)``, same range; black comes in from
        outside.

    """
    n = images.shape[0]
    shape = [n, 1, size_px, size_px] if size_px else list(images.shape)

    def uniform(half_width: float) -> torch.Tensor:
        return (torch.rand(n, generator=generator) * 2.0 - 1.0) * half_width

    angle = uniform(math.radians(rule.rotation_degrees))
    magnification = torch.exp(uniform(rule.log_scale))
    cosine, sine = torch.cos(angle) / magnification, torch.sin(angle) / magnification
    across, down = uniform(2.0 * rule.shift), uniform(2.0 * rule.shift)
    matrices = torch.stack(
        [torch.stack([cosine, -sine, across], dim=1), torch.stack([sine, cosine, down], dim=1)],
        dim=1,
    )
    grid = functional.affine_grid(matrices, shape, align_corners=False)
    moved = functional.grid_sample(images, grid, align_corners=False)
    gamma = torch.exp(uniform(rule.log_gamma))[:, None, None, None]
    factor = (1.0 + uniform(rule.contrast))[:, None, None, None]
    exposed = (moved.clamp(0.0, 1.0) ** gamma - 0.5) * factor + 0.5
    deviation = uniform(rule.noise).abs()[:, None, None, None]
    noise = torch.randn(exposed.shape, generator=generator) * deviation
    changed = (exposed + noise).clamp(0.0, 1.0)
    return _erased(changed, rule.erased, generator) if rule.erased else changed


def _erased(images: torch.Tensor, side: float, generator: torch.Generator) -> torch.Tensor:
    """Cover one rectangle of each picture with mid-grey; its sides are at most `side`."""
    n, _, rows, columns = images.shape
    draws = torch.rand(n, 4, generator=generator)
    height, width = draws[:, 0] * side, draws[:, 1] * side
    top, left = draws[:, 2] * (1.0 - height), draws[:, 3] * (1.0 - width)
    down = torch.arange(rows)[None, :] / rows
    across = torch.arange(columns)[None, :] / columns
    in_rows = (down >= top[:, None]) & (down < (top + height)[:, None])
    in_columns = (across >= left[:, None]) & (across < (left + width)[:, None])
    covered = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return images.masked_fill(covered, 0.5)


def mixed(
    activations: torch.Tensor, labels: torch.Tensor, mixing: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each picture of a batch with another one, and their labels with them.

    Parameters
    ----------
    activations
        Shape ``(n, c, h, w)``: pictures, or what frozen layers made of them.
    labels
        Shape ``(n, m)``.
    mixing
        Both parameters of the beta distribution that the share is drawn from, once per batch; the
        larger share stays with the picture itself.
    generator
        The source of randomness.

    Returns
    -------
    tuple of torch.Tensor
        Of the same shapes.

    References
    ----------
    Zhang et al., "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412; of hidden layers:
    Verma et al., "Manifold Mixup", arXiv:1806.05236.

    """
    seed = int(torch.randint(2**31, (1,), generator=generator))
    share = float(np.random.default_rng(seed).beta(mixing, mixing))
    share = max(share, 1.0 - share)
    partner = torch.randperm(len(activations), generator=generator)
    blended = share * activations + (1.0 - share) * activations[partner]
    return blended, share * labels + (1.0 - share) * labels[partner]
