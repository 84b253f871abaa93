"""Runs a network over preprocessed pictures in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from models.collection_files import UINT8_MAX
from models.training.augmentation import AugmentationRule, augmented

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn

    from models.preprocessing import Preprocessing
    from models.training.mobilenet import MobileNetV2, RetrievalEncoder

_BATCH_SIZE = 64


def normalised(grey: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Do the last step of preprocessing on a batch.

    Parameters
    ----------
    grey
        Shape ``(n, 1, h, w)``, float32 in [0, 1].
    preprocessing
        Gives mean and standard deviation.

    Returns
    -------
    torch.Tensor
        Shape ``(n, channels, h, w)``; equal to `Preprocessing.normalise` of each.

    """
    mean = torch.tensor(preprocessing.mean)[None, :, None, None]
    std = torch.tensor(preprocessing.std)[None, :, None, None]
    return ((grey - mean) / std).contiguous(memory_format=torch.channels_last)


def grey_batch(squares: NDArray[np.uint8]) -> torch.Tensor:
    """Map ``(n, h, w)``, uint8, to ``(n, 1, h, w)``, float32 in [0, 1]."""
    return torch.from_numpy(squares).float().div(UINT8_MAX)[:, None]


def pooled_features(
    network: MobileNetV2, squares: NDArray[np.uint8], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Return the mean of the last feature map: the frozen baseline.

    Parameters
    ----------
    network
        In evaluation mode.
    squares
        Shape ``(n, h, w)``, uint8.
    preprocessing
        Gives the normalisation.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, n_features)``, float32, not scaled.

    """
    features: NDArray[np.float32] = _in_batches(
        lambda grey: network(normalised(grey, preprocessing)).mean(dim=(2, 3)), squares
    ).numpy()
    return features


def augmented_activations(
    frozen: nn.Module,
    squares: NDArray[np.uint8],
    preprocessing: Preprocessing,
    rule: AugmentationRule,
    generator: torch.Generator,
) -> NDArray[np.float16]:
    """Augment each picture once and run the layers that are not trained.

    Parameters
    ----------
    frozen
        The first blocks of a network, in evaluation mode.
    squares
        Shape ``(n, h, w)``, uint8.
    preprocessing
        Gives the normalisation.
    rule, generator
        Of the augmentation.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, c, h', w')``, float16: half the memory, and far finer than the augmentation.

    """

    def activations(grey: torch.Tensor) -> torch.Tensor:
        changed = augmented(grey, rule, generator)
        half: torch.Tensor = frozen(normalised(changed, preprocessing)).half()
        return half

    stored: NDArray[np.float16] = _in_batches(activations, squares).numpy()
    return stored


def embeddings_of(
    encoder: RetrievalEncoder, squares: NDArray[np.uint8], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Return the embedding of each picture.

    Parameters
    ----------
    encoder
        In evaluation mode.
    squares
        Shape ``(n, h, w)``, uint8.
    preprocessing
        Gives the normalisation.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, d)``, float32, unit norm.

    """
    vectors: NDArray[np.float32] = _in_batches(
        lambda grey: encoder(normalised(grey, preprocessing))[0], squares
    ).numpy()
    return vectors


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row to unit norm."""
    scaled: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def _in_batches(
    function: Callable[[torch.Tensor], torch.Tensor], squares: NDArray[np.uint8]
) -> torch.Tensor:
    """Apply a function of grey batches to all pictures, without gradients."""
    with torch.no_grad():
        parts = [
            function(grey_batch(squares[start : start + _BATCH_SIZE]))
            for start in range(0, len(squares), _BATCH_SIZE)
        ]
    return torch.cat(parts)
