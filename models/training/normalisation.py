"""Puts batch normalisation back into a network whose weights come with it folded in.

Folded in, each convolution has a bias and its outputs are not normalised: the statistics of the
ImageNet pictures stay in force. That is the usual advice for small data; the two other ways are
here so that they can be measured against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from models.training.mobilenet import ConvClip

if TYPE_CHECKING:
    from collections.abc import Iterable


def insert_batch_norm(blocks: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Give each convolution a batch normalisation that changes nothing yet.

    Its statistics are those of the outputs on the given pictures; scale and shift undo them.

    Parameters
    ----------
    blocks
        Part of a network; changed in place.
    batches
        What enters `blocks`, each ``(n, c, h, w)``; at least one.

    """
    layers = [part for part in blocks.modules() if isinstance(part, ConvClip)]
    sums = [torch.zeros(2, layer.conv.out_channels, dtype=torch.float64) for layer in layers]
    counts = [0] * len(layers)

    def recorder(number: int) -> object:
        def record(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            values = output.detach().double()
            sums[number] += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
            counts[number] += values.numel() // values.shape[1]

        return record

    hooks = [layer.conv.register_forward_hook(recorder(n)) for n, layer in enumerate(layers)]
    with torch.no_grad():
        for batch in batches:
            blocks(batch)
    for hook in hooks:
        hook.remove()
    for layer, total, count in zip(layers, sums, counts, strict=True):
        mean = total[0] / count
        variance = (total[1] / count - mean.square()).clamp(min=0.0)
        layer.norm = _identity_norm(mean.float(), variance.float())


def fold_batch_norm(network: nn.Module) -> None:
    """Fold every batch normalisation into its convolution again; what is computed stays the same.

    Parameters
    ----------
    network
        Changed in place.

    """
    for layer in [part for part in network.modules() if isinstance(part, ConvClip)]:
        norm = layer.norm
        if isinstance(norm, nn.BatchNorm2d):
            with torch.no_grad():
                scale = norm.weight / (norm.running_var + norm.eps).sqrt()
                layer.conv.weight.mul_(scale[:, None, None, None])
                layer.conv.bias.copy_((layer.conv.bias - norm.running_mean) * scale + norm.bias)
            layer.norm = nn.Identity()


def _identity_norm(mean: torch.Tensor, variance: torch.Tensor) -> nn.BatchNorm2d:
    """Return a batch normalisation, in evaluation mode, that maps its input to itself."""
    norm = nn.BatchNorm2d(len(mean)).eval()
    with torch.no_grad():
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)
    return norm
