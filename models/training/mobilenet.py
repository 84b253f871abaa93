"""MobileNetV2 in torch, filled from an ONNX file, with a linear projection for retrieval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from pathlib import Path

EMBEDDING_DIMENSION = 256
N_FEATURES = 1280

# Expansion, channels, repeats, stride. Source: Sandler et al., "MobileNetV2", table 2,
# doi:10.1109/CVPR.2018.00474.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM_CHANNELS = 32


class ConvClip(nn.Module):
    """A convolution (its batch normalisation folded in) and, but for linear ones, ReLU6.

    Stride 2 pads at the bottom and the right only, as the ImageNet weights were trained.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        is_linear: bool = False,
    ) -> None:
        super().__init__()
        margin = kernel_size // 2
        self.pads = (0, margin, 0, margin) if stride > 1 else (margin,) * 4
        self.conv = nn.Conv2d(n_in, n_out, kernel_size, stride=stride, groups=groups)
        self.is_linear = is_linear

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map ``(n, n_in, h, w)`` to ``(n, n_out, h / stride, w / stride)``."""
        padded = functional.pad(images, self.pads) if any(self.pads) else images
        convolved: torch.Tensor = self.conv(padded)
        return convolved if self.is_linear else functional.relu6(convolved)


class InvertedResidual(nn.Module):
    """Expand, filter by depth, project; added to its input where the shapes agree."""

    def __init__(self, n_in: int, n_out: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        n_hidden = n_in * expansion
        expand = [ConvClip(n_in, n_hidden)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            ConvClip(n_hidden, n_hidden, kernel_size=3, stride=stride, groups=n_hidden),
            ConvClip(n_hidden, n_out, is_linear=True),
        )
        self.is_residual = stride == 1 and n_in == n_out

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map ``(n, n_in, h, w)`` to ``(n, n_out, h / stride, w / stride)``."""
        filtered: torch.Tensor = self.layers(images)
        return images + filtered if self.is_residual else filtered


class MobileNetV2(nn.Module):
    """The 1.0 / 224 network without its classifier: ``(n, 3, h, w)`` to ``(n, 1280, h/32, w/32)``.

    Parameters
    ----------
    stages
        Expansion, channels, repeats, stride of each stage; the default is the published network.
    n_features
        Channels of the last convolution.

    """

    def __init__(
        self,
        stages: tuple[tuple[int, int, int, int], ...] = _STAGES,
        n_features: int = N_FEATURES,
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = [ConvClip(3, _STEM_CHANNELS, kernel_size=3, stride=2)]
        n_channels = _STEM_CHANNELS
        for expansion, n_out, n_repeats, stride in stages:
            for repeat in range(n_repeats):
                blocks.append(
                    InvertedResidual(
                        n_channels,
                        n_out,
                        stride=stride if repeat == 0 else 1,
                        expansion=expansion,
                    )
                )
                n_channels = n_out
        blocks.append(ConvClip(n_channels, n_features))
        self.blocks = nn.Sequential(*blocks)
        self.n_features = n_features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map ``(n, 3, h, w)``, normalised, to ``(n, n_features, h / 32, w / 32)``."""
        features: torch.Tensor = self.blocks(images)
        return features


class RetrievalEncoder(nn.Module):
    """A network and one linear projection, applied at each place of the feature map.

    The mean of the projected map, scaled to unit norm, is the embedding: a similarity of two
    pictures is therefore a sum over pairs of their places.
    """

    def __init__(self, network: MobileNetV2, dimension: int = EMBEDDING_DIMENSION) -> None:
        super().__init__()
        self.network = network
        self.projection = nn.Conv2d(network.n_features, dimension, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map ``(n, 3, h, w)`` to embeddings ``(n, d)`` and feature maps ``(n, d, h', w')``."""
        return self.projected(self.network(images))

    def projected(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map features ``(n, n_features, h', w')`` to embeddings and feature maps."""
        feature_map = self.projection(features)
        embedding = functional.normalize(feature_map.mean(dim=(2, 3)), dim=1)
        return embedding, feature_map


def pretrained_mobilenet(path: Path) -> MobileNetV2:
    """Fill a MobileNetV2 from the convolutions of an ONNX file.

    Parameters
    ----------
    path
        A MobileNetV2 1.0 whose batch normalisations are folded; convolutions in the order of the
        network, its classifier last.

    Returns
    -------
    MobileNetV2
        The ImageNet weights.

    Raises
    ------
    ValueError
        If a convolution of the file does not fit the network.

    """
    graph = onnx.load(str(path)).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    network = MobileNetV2()
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    if len(nodes) < len(convolutions):
        raise ValueError("the ONNX file has too few convolutions for MobileNetV2 1.0")
    with torch.no_grad():
        for convolution, node in zip(convolutions, nodes, strict=False):
            weight, bias = (torch.from_numpy(values[name].copy()) for name in node.input[1:3])
            if weight.shape != convolution.weight.shape:
                raise ValueError(f"convolution {node.name or node.output[0]} does not fit")
            convolution.weight.copy_(weight)
            convolution.bias.copy_(bias)
    return network
