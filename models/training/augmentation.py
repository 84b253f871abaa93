"""Random changes that leave a finding where it is: shift, exposure, noise; never a flip."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class AugmentationRule:
    """How far pictures are changed; each value is the half-width of a uniform distribution.

    A horizontal flip is not among them: it would move the heart to the other side.

    Attributes
    ----------
    rotation_degrees
        Around the centre.
    log_scale
        Of the magnification.
    shift
        Of the picture's side, in each direction.
    log_gamma
        Of the exponent that grey values are raised to.
    contrast
        Of the factor around mid-grey.
    noise
        Standard deviation of added noise, grey values in [0, 1]; uniform from 0 up to this.

    """

    rotation_degrees: float = 10.0
    log_scale: float = 0.15
    shift: float = 0.06
    log_gamma: float = 0.35
    contrast: float = 0.2
    noise: float = 0.04


def augmented(
    images: torch.Tensor, rule: AugmentationRule, generator: torch.Generator
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

    Returns
    -------
    torch.Tensor
        Same shape and range; black comes in from outside.

    """
    n = images.shape[0]

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
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, align_corners=False)
    gamma = torch.exp(uniform(rule.log_gamma))[:, None, None, None]
    factor = (1.0 + uniform(rule.contrast))[:, None, None, None]
    exposed = (moved.clamp(0.0, 1.0) ** gamma - 0.5) * factor + 0.5
    deviation = uniform(rule.noise).abs()[:, None, None, None]
    noise = torch.randn(images.shape, generator=generator) * deviation
    return (exposed + noise).clamp(0.0, 1.0)
