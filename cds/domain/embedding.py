"""A picture as a vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNIT_NORM_TOLERANCE = 1e-3

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class ImageEmbedding:
    """The unit-norm embedding of one frame, and where in the picture it comes from.

    Attributes
    ----------
    vector
        Shape ``(d,)``, float32, unit L2 norm.
    feature_map
        Shape ``(c, h, w)``, float32, or None; rows before columns, row 0 at the top.
    encoder_hash
        SHA-256 (hex) of the encoder's manifest: weights and preprocessing.

    """

    vector: Float32Array
    encoder_hash: str
    feature_map: Float32Array | None = None

    def __post_init__(self) -> None:
        if self.vector.ndim != 1:
            raise ValueError("an embedding has one axis")
        if abs(float(np.linalg.norm(self.vector)) - 1.0) > UNIT_NORM_TOLERANCE:
            raise ValueError("an embedding has unit norm")
