"""A site adapter: the linear map that a site's own library puts behind its encoder."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

FORMAT_VERSION = 1
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class AdapterRecord:
    """How a site adapter came about; it names no case and no patient.

    Attributes
    ----------
    kind
        Which method won, with its settings.
    encoder_hash
        Whose vectors it takes.
    fitted_at
        ISO time, aware UTC.
    seed
        Of the folds.
    n_cases, n_patients
        Labelled cases that it was fitted on.
    n_by_label
        "collection: label" -> cases.
    validation
        Figures measured on patients who chose and fitted nothing.

    """

    kind: str
    encoder_hash: str
    fitted_at: str
    seed: int
    n_cases: int
    n_patients: int
    n_by_label: Mapping[str, int] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Takes an encoder's unit vectors to the site's: ``(x - mean) @ matrix``, unit norm again.

    It is affine before the norm, so that the similarity of two pictures stays a sum over pairs of
    places: with ``f`` the feature map of a picture, scaled so that the mean over its places is the
    encoder's vector, each place counts ``(f - mean) @ matrix``.

    Attributes
    ----------
    matrix
        Shape ``(d, k)``, float32.
    mean
        Shape ``(d,)``, float32.
    record
        How it came about.

    """

    matrix: Float32Array
    mean: Float32Array
    record: AdapterRecord

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or self.mean.shape != self.matrix.shape[:1]:
            raise ValueError("a projection has a matrix (d, k) and a mean (d,)")
        if not (np.isfinite(self.matrix).all() and np.isfinite(self.mean).all()):
            raise ValueError("a projection is finite")

    @property
    def dimension(self) -> int:
        """Length of the vectors that it gives."""
        return int(self.matrix.shape[1])

    def __call__(self, vector: Float32Array) -> Float32Array:
        """Return the site's vector of one picture.

        Parameters
        ----------
        vector
            Shape ``(d,)``, unit norm.

        Returns
        -------
        numpy.ndarray
            Shape ``(k,)``, float32, unit norm; zeros for a picture that is exactly the mean, which
            then resembles nothing. The same bits whatever else is projected.

        """
        projected = (vector - self.mean) @ self.matrix
        length = np.float32(max(float(np.linalg.norm(projected)), _TINY))
        scaled: Float32Array = (projected / length).astype(np.float32)
        return scaled

    def rows(self, vectors: Float32Array) -> Float32Array:
        """Return the site's vector of each row, shape ``(n, k)``; each as if it came alone."""
        result = np.zeros((vectors.shape[0], self.dimension), dtype=np.float32)
        for i, vector in enumerate(vectors):
            result[i] = self(vector)
        return result

    def beside_record(self, vectors: Float32Array) -> Float32Array:
        """Project the image block of rows ``(n, d + r)`` and keep the record block beside it."""
        d = self.matrix.shape[0]
        return np.hstack([self.rows(vectors[:, :d]), vectors[:, d:]])

    def to_npz(self) -> bytes:
        """Return the file; equal adapters give equal bytes."""
        stream = io.BytesIO()
        record = json.dumps({"format": FORMAT_VERSION, **asdict(self.record)}, sort_keys=True)
        np.savez(
            stream,
            allow_pickle=False,
            matrix=self.matrix,
            mean=self.mean,
            record=np.frombuffer(record.encode(), dtype=np.uint8),
        )
        return stream.getvalue()

    @classmethod
    def from_npz(cls, content: bytes) -> Self:
        """Read what `to_npz` wrote; nothing in it is executed.

        Raises
        ------
        ValueError
            If it is no such file.

        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                record = json.loads(arrays["record"].tobytes())
                if record.pop("format") != FORMAT_VERSION:
                    raise ValueError("unknown format of a site adapter")
                return cls(
                    arrays["matrix"].astype(np.float32),
                    arrays["mean"].astype(np.float32),
                    AdapterRecord(**record),
                )
        except (KeyError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile):
            raise ValueError("no site adapter") from None


def adapter_sha256(content: bytes) -> str:
    """Return the SHA-256 (hex) of an adapter's file, as the index passport names it."""
    return hashlib.sha256(content).hexdigest()
