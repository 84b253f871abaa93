"""MobileNetV2 in torch, filled from an ONNX file, with a linear projection for retrieval."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
import torch
from torch import nn
from torch.nn import functional

from models.manifest import CONFIG_FILE, MODEL_FILE, PREPROCESSOR_FILE, read_manifest
from models.preprocessing import Preprocessing
from models.runtime import open_session
from models.training.anchor import Anchor, AnchorShape, joined_map
from models.training.half_precision import initial_values

if TYPE_CHECKING:
    from pathlib import Path

    from models.training.heads import FindingHeads

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

    Stride 2 pads at the bottom and the right only, as the ImageNet weights were trained. `norm`
    does nothing unless `models.training.normalisation` puts a batch normalisation back.
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
        self.pads = (0, margin, 0, margin) if stride > 1 else (0, 0, 0, 0)
        padding = 0 if stride > 1 else margin
        self.conv = nn.Conv2d(
            n_in, n_out, kernel_size, stride=stride, padding=padding, groups=groups
        )
        self.norm: nn.Module = nn.Identity()
        self.is_linear = is_linear

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map ``(n, n_in, h, w)`` to ``(n, n_out, h / stride, w / stride)``."""
        padded = functional.pad(images, self.pads) if any(self.pads) else images
        convolved: torch.Tensor = self.norm(self.conv(padded))
        return convolved if self.is_linear else functional.relu6(convolved, inplace=True)


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

    Attributes
    ----------
    test_zooms
        Magnifications of the picture's centre whose feature maps are averaged by `forward`; at
        most 1.3, so that a place stays roughly where it is.
    anchor
        What is kept of the network before its training, if anything; the training itself does not
        look at it.
    finding_heads
        The classifiers that training gave it, if any. They read the learnt components.

    """

    def __init__(self, network: MobileNetV2, dimension: int = EMBEDDING_DIMENSION) -> None:
        super().__init__()
        self.network = network
        self.projection = nn.Conv2d(network.n_features, dimension, 1)
        self.anchor: Anchor | None = None
        self.test_zooms: tuple[float, ...] = (1.0,)
        self.finding_heads: FindingHeads | None = None

    @property
    def dimension(self) -> int:
        """Length of the embedding."""
        learnt: int = self.projection.out_channels
        return learnt + (self.anchor.shape.dimension if self.anchor is not None else 0)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map ``(n, 3, h, w)`` to embeddings ``(n, d)`` and feature maps ``(n, d, h', w')``."""
        if self.test_zooms == (1.0,):
            return _with_embedding(self._feature_map(images))
        # One pass over all magnifications: the exported graph holds each convolution once.
        views = torch.cat([zoomed(images, zoom) for zoom in self.test_zooms])
        feature_maps = torch.chunk(self._feature_map(views), len(self.test_zooms))
        return _with_embedding(torch.stack(feature_maps).mean(dim=0))

    def learnt(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the learnt components of embeddings ``(n, dimension)``, of unit norm."""
        return functional.normalize(embeddings[:, : self.projection.out_channels], dim=1)

    def _feature_map(self, images: torch.Tensor) -> torch.Tensor:
        """Map ``(n, 3, h, w)`` to ``(n, dimension, h', w')``."""
        if self.anchor is None:
            projected: torch.Tensor = self.projection(self.network(images))
            return projected
        n_shared = self.anchor.shape.n_shared_blocks
        shared = self.network.blocks[:n_shared](images)
        learnt = self.projection(self.network.blocks[n_shared:](shared))
        return joined_map(learnt, self.anchor(shared), self.anchor.shape.weight)

    def projected(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map features ``(n, n_features, h', w')`` to embeddings and feature maps."""
        return _with_embedding(self.projection(features))


def zoomed(images: torch.Tensor, zoom: float) -> torch.Tensor:
    """Magnify the centre of square pictures ``(n, c, s, s)``; 1.0 returns them as they are."""
    side = images.shape[-1]
    margin = round(side * (1.0 - 1.0 / zoom) / 2.0)
    if margin == 0:
        return images
    centre = images[:, :, margin : side - margin, margin : side - margin]
    return functional.interpolate(centre, size=(side, side), mode="bilinear", align_corners=False)


def _with_embedding(feature_map: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean over the places, scaled to unit norm, and the map itself."""
    return functional.normalize(feature_map.mean(dim=(2, 3)), dim=1), feature_map


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What a training starts from.

    Attributes
    ----------
    name
        Of the encoder or the file.
    encoder
        With its weights; its projection is random unless `has_projection`.
    preprocessing
        What it was trained with.
    has_projection
        Whether the projection comes from the start too.

    """

    name: str
    encoder: RetrievalEncoder
    preprocessing: Preprocessing
    has_projection: bool


def start_from(path: Path) -> Start:
    """Read the weights that a training starts from.

    Parameters
    ----------
    path
        An encoder folder of ours, or an ONNX file as `pretrained_mobilenet` takes it.

    Returns
    -------
    Start
        Ready to be trained.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if a folder is incomplete or differs from its manifest, or a file is no
        ONNX graph.
    ValueError
        If the weights do not fit MobileNetV2 1.0.

    """
    if not path.is_dir():
        network = pretrained_mobilenet(path)
        return Start(path.name, RetrievalEncoder(network), Preprocessing(), has_projection=False)
    manifest = read_manifest(path)
    manifest.verified_files(path)
    encoder = _empty_encoder(
        json.loads((path / CONFIG_FILE).read_text("utf-8")), manifest.dimension
    )
    _fill(encoder, path / MODEL_FILE)
    preprocessing = Preprocessing.from_file(path / PREPROCESSOR_FILE)
    return Start(manifest.name, encoder, preprocessing, has_projection=True)


def _empty_encoder(configuration: dict[str, Any], dimension: int) -> RetrievalEncoder:
    """Return an encoder of a configuration's shape, with random weights."""
    stated = configuration.get("anchor")
    if stated is None:
        return RetrievalEncoder(MobileNetV2(), dimension)
    shape = AnchorShape(**stated)
    encoder = RetrievalEncoder(MobileNetV2(), dimension - shape.dimension)
    late = encoder.network.blocks[shape.n_shared_blocks :]
    encoder.anchor = Anchor(late, encoder.network.n_features, shape)
    return encoder


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
    network = MobileNetV2()
    _fill(network, path)
    return network


def _fill(network: nn.Module, path: Path) -> None:
    """Copy the first convolutions of an ONNX file into those of a network."""
    try:
        content = path.read_bytes()
    except OSError:
        raise ValueError(f"{path.name} cannot be read") from None
    open_session(content)
    graph = onnx.load_model_from_string(content).graph
    values = initial_values(graph)
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    if len(nodes) < len(convolutions):
        raise ValueError("the ONNX file has too few convolutions for MobileNetV2 1.0")
    with torch.no_grad():
        for convolution, node in zip(convolutions, nodes, strict=False):
            held = [torch.from_numpy(values[name]) for name in node.input[1:3]]
            wanted = [part for part in (convolution.weight, convolution.bias) if part is not None]
            if [one.shape for one in held] != [one.shape for one in wanted]:
                raise ValueError(f"convolution {node.name or node.output[0]} does not fit")
            for own, one in zip(wanted, held, strict=True):
                own.copy_(one)
