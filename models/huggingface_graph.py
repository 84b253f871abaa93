"""How the graph of a brought encoder is read: which output is the embedding, which the map."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnxruntime

Float32Array = NDArray[np.float32]

SMALLEST_NORM = 1e-6  # below it a vector points nowhere


class Pooling(StrEnum):
    """How an output becomes one vector per picture."""

    NONE = "none"  # (n, d) already
    CLS = "cls"  # the first token of (n, t, d)
    MEAN = "mean"  # the mean of the patch tokens of (n, t, d)
    PLACES = "places"  # the mean over rows and columns of (n, d, h, w)


class MapRelation(StrEnum):
    """What the mean of the feature map over its places is to the embedding."""

    EXACT = "exact"  # the embedding, before it was scaled to unit norm
    INEXACT = "inexact"  # another vector: a heat map shows where features are alike, no shares
    NONE = "none"  # there is no feature map: heat maps are not available


@dataclass(frozen=True, slots=True)
class GraphReading:
    """Which input and outputs of a graph are used, and how.

    Attributes
    ----------
    input_name
        Takes ``(n, channels, rows, columns)``.
    output_name, pooling
        Gives the embedding.
    map_name
        Gives the feature map, from patch tokens or as four axes; None where there is none.
    n_prefix_tokens
        Class and register tokens before the patch tokens.
    n_rows, n_columns
        Of the grid of patch tokens; 0 where the graph has no tokens.
    map_relation
        As measured on generated pictures.
    batch_size
        How many pictures the graph takes at once; None if any number.

    """

    input_name: str
    output_name: str
    pooling: Pooling
    map_name: str | None = None
    n_prefix_tokens: int = 0
    n_rows: int = 0
    n_columns: int = 0
    map_relation: MapRelation = MapRelation.NONE
    batch_size: int | None = None

    def to_manifest(self) -> dict[str, Any]:
        """Write as JSON values."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_manifest(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_manifest` wrote.

        Raises
        ------
        CdsError
            MODEL_UNAVAILABLE if it is something else.

        """
        try:
            fields = dict(content)
            fields["pooling"] = Pooling(fields["pooling"])
            fields["map_relation"] = MapRelation(fields["map_relation"])
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise CdsError(
                Reason.MODEL_UNAVAILABLE, "The image model's manifest cannot be read."
            ) from error

    def refuse_other_graph(self, session: onnxruntime.InferenceSession) -> None:
        """Raise MODEL_UNAVAILABLE unless the graph has the input and outputs that are used."""
        inputs = {node.name for node in session.get_inputs()}
        outputs = {node.name for node in session.get_outputs()}
        wanted = {self.output_name} | ({self.map_name} if self.map_name else set())
        if inputs != {self.input_name} or not wanted <= outputs:
            raise CdsError(
                Reason.MODEL_UNAVAILABLE, "The image model's graph does not fit its manifest."
            )

    def run(
        self, session: onnxruntime.InferenceSession, image_batch: Float32Array
    ) -> tuple[Float32Array, list[Float32Array | None]]:
        """Run the graph on a preprocessed batch.

        Parameters
        ----------
        session
            Of this graph.
        image_batch
            Shape ``(n, channels, rows, columns)``, float32.

        Returns
        -------
        tuple
            Vectors ``(n, d)``, float32: unit norm, or zero where the graph found nothing; feature
            maps, each ``(c, h, w)`` or None.

        """
        vectors, maps = self.raw(session, image_batch)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        usable = np.isfinite(norms) & (norms > SMALLEST_NORM)
        unit = np.where(usable, vectors / np.where(usable, norms, 1.0), 0.0).astype(np.float32)
        return unit, [None] * len(unit) if maps is None else list(maps)

    def raw(
        self, session: onnxruntime.InferenceSession, image_batch: Float32Array
    ) -> tuple[Float32Array, Float32Array | None]:
        """Return vectors ``(n, d)`` as the graph gives them, and maps ``(n, c, h, w)`` or None."""
        names = list(dict.fromkeys(n for n in (self.output_name, self.map_name) if n))
        outputs = dict(zip(names, session.run(names, {self.input_name: image_batch}), strict=True))
        maps = None if self.map_name is None else self._as_map(outputs[self.map_name])
        return self._pooled(outputs[self.output_name]), maps

    def _pooled(self, output: Float32Array) -> Float32Array:
        vectors = output.reshape(len(output), -1) if self.pooling is Pooling.NONE else output
        if self.pooling is Pooling.CLS:
            vectors = output[:, 0]
        elif self.pooling is Pooling.MEAN:
            vectors = output[:, self.n_prefix_tokens :].mean(axis=1)
        elif self.pooling is Pooling.PLACES:
            vectors = output.mean(axis=(2, 3))
        return np.asarray(vectors, dtype=np.float32)

    def _as_map(self, output: Float32Array) -> Float32Array:
        """Bring patch tokens ``(n, t, d)`` into the grid ``(n, d, h, w)``, row 0 at the top."""
        if output.ndim == 4:
            return np.asarray(output, dtype=np.float32)
        patches = output[:, self.n_prefix_tokens :].transpose(0, 2, 1)
        grid = patches.reshape(len(output), -1, self.n_rows, self.n_columns)
        return np.ascontiguousarray(grid, dtype=np.float32)


def _plain(value: Any) -> Any:  # noqa: ANN401  # JSON
    return value.value if isinstance(value, StrEnum) else value
