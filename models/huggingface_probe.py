"""Find out how a brought graph is read, by its names, its configuration, and by running it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cds.domain.errors import CdsError, Reason
from models.huggingface_graph import SMALLEST_NORM, GraphReading, MapRelation, Pooling
from models.runtime import run_refusing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnxruntime

Float32Array = NDArray[np.float32]

LOGITS = "logits"
LAST_HIDDEN_STATE = "last_hidden_state"
# Outputs that are an embedding of the whole picture, the best first.
POOLED_OUTPUTS = ("image_embeds", "embedding", "pooler_output", "image_embedding", "features")
# Their exported pooler is a layer that pretraining often left untrained: the class token instead.
_WITHOUT_TRAINED_POOLER = frozenset({"vit", "deit", "beit", "vit_mae", "vit_msn"})
_MAP_AGREEMENT = 1e-4
_DIFFERENT = 1e-5  # two unlike pictures have to differ by more than this in some axis
N_PROBES = 3
PROBE_SIDE_PX = 320


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person says about the graph; None leaves it to be detected."""

    output_name: str | None = None
    pooling: Pooling | None = None
    n_prefix_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    """How the graph is read, its dimension, and what a person should know about it."""

    reading: GraphReading
    dimension: int
    warnings: tuple[str, ...]


def probe(
    session: onnxruntime.InferenceSession,
    preprocessing: Callable[[Float32Array], Float32Array],
    config: Mapping[str, Any],
    wishes: Wishes,
) -> Probed:
    """Run generated pictures through the graph and say how it is read.

    Parameters
    ----------
    session
        The opened graph.
    preprocessing
        From pixels to its input.
    config
        The parsed ``config.json``.
    wishes
        What is not to be detected.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE with what is missing: more than one input, no output that can be an
        embedding, values that are not finite, equal vectors for different pictures.

    """
    input_name, batch_size = _input_of(session)
    batch = np.stack([preprocessing(picture) for picture in generated_pictures()])
    outputs = _outputs(session, input_name, batch, batch_size)
    output_name, pooling, warnings = _chosen(outputs, config, wishes)
    reading = GraphReading(input_name, output_name, pooling, batch_size=batch_size)
    reading = _with_tokens(reading, outputs, config, wishes, batch.shape[2:])
    vectors = _vectors(reading, session, batch)
    return Probed(
        replace(reading, map_relation=_relation(reading, session, batch)),
        vectors.shape[1],
        tuple(warnings),
    )


def generated_pictures() -> list[Float32Array]:
    """Return pictures that differ: smooth shapes with noise, float32 in [0, 1]."""
    rows, columns = np.mgrid[0:PROBE_SIDE_PX, 0:PROBE_SIDE_PX] / PROBE_SIDE_PX
    pictures = []
    for seed in range(N_PROBES):
        rng = np.random.default_rng(seed)
        row, column = rng.uniform(0.3, 0.7, size=2)
        blob = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / rng.uniform(0.02, 0.1))
        noise = rng.normal(0, 0.03, size=rows.shape)
        pictures.append(np.clip(0.8 * blob + 0.1 + noise, 0, 1).astype(np.float32))
    return pictures


def _input_of(session: onnxruntime.InferenceSession) -> tuple[str, int | None]:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(sorted(node.name for node in inputs))
        raise CdsError(
            Reason.MODEL_UNAVAILABLE,
            f"The graph takes {len(inputs)} inputs ({names}); export the image tower alone.",
        )
    node = inputs[0]
    if len(node.shape) != 4 or node.type != "tensor(float)":
        raise CdsError(
            Reason.MODEL_UNAVAILABLE,
            f"The graph's input {node.name} is no float32 picture (n, channels, rows, columns).",
        )
    fixed = node.shape[0]
    return node.name, fixed if isinstance(fixed, int) else None


def _outputs(
    session: onnxruntime.InferenceSession,
    input_name: str,
    batch: Float32Array,
    batch_size: int | None,
) -> dict[str, Float32Array]:
    """Run the graph and return every output by name."""
    if batch_size not in {None, 1}:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE,
            f"The graph takes {batch_size} pictures at once; export it with a free batch axis.",
        )
    names = [node.name for node in session.get_outputs()]
    parts = [batch] if batch_size is None else [batch[i : i + 1] for i in range(len(batch))]
    runs = [run_refusing(session, names, {input_name: part}) for part in parts]
    return {name: np.concatenate([run[i] for run in runs]) for i, name in enumerate(names)}


def _chosen(
    outputs: Mapping[str, Float32Array], config: Mapping[str, Any], wishes: Wishes
) -> tuple[str, Pooling, list[str]]:
    name = wishes.output_name or _best_output(outputs, config)
    if name is None or name not in outputs:
        raise CdsError(Reason.MODEL_UNAVAILABLE, _no_output(name, outputs))
    warnings = []
    if name == LOGITS:
        warnings.append(
            "The class scores (logits) are taken as the embedding: pictures are compared by what "
            "the classifier says, and there is no feature map of the layer before it."
        )
    return name, wishes.pooling or _pooling_of(name, outputs[name], config), warnings


def _no_output(name: str | None, outputs: Mapping[str, Float32Array]) -> str:
    have = ", ".join(sorted(outputs))
    if name is not None:
        return f"The graph has no output {name}; it has {have}."
    if set(outputs) == {LOGITS}:
        return (
            "The graph gives class scores (logits) only; the layer before them is not available. "
            "Export it again with --task feature-extraction, or take the scores themselves with "
            "--output logits."
        )
    return f"None of the graph's outputs ({have}) is known to be an embedding; name one (--output)."


def _best_output(outputs: Mapping[str, Float32Array], config: Mapping[str, Any]) -> str | None:
    pooled = [n for n in POOLED_OUTPUTS if n in outputs and _is_flat(outputs[n])]
    if LAST_HIDDEN_STATE in outputs and config.get("model_type") in _WITHOUT_TRAINED_POOLER:
        pooled = [n for n in pooled if n != "pooler_output"]
    if pooled:
        return pooled[0]
    if LAST_HIDDEN_STATE in outputs:
        return LAST_HIDDEN_STATE
    others = [n for n in outputs if n != LOGITS]
    return others[0] if len(others) == 1 else None


def _is_flat(output: Float32Array) -> bool:
    return output.ndim == 2 or (output.ndim == 4 and output.shape[2:] == (1, 1))


def _pooling_of(name: str, output: Float32Array, config: Mapping[str, Any]) -> Pooling:
    if _is_flat(output):
        return Pooling.NONE
    if output.ndim == 4:
        return Pooling.PLACES
    if output.ndim == 3:
        n_registers = int(config.get("num_register_tokens") or 0)
        has_class_token = _square_side(output.shape[1] - n_registers) is None
        return Pooling.CLS if has_class_token else Pooling.MEAN
    raise CdsError(
        Reason.MODEL_UNAVAILABLE, f"The output {name} has {output.ndim} axes; it cannot be pooled."
    )


def _with_tokens(
    reading: GraphReading,
    outputs: Mapping[str, Float32Array],
    config: Mapping[str, Any],
    wishes: Wishes,
    input_size: tuple[int, ...],
) -> GraphReading:
    """Add the feature map, if an output can be one, and where its patch tokens begin."""
    map_name = next(
        (
            name
            for name in (reading.output_name, LAST_HIDDEN_STATE, "feature_map")
            if name in outputs and outputs[name].ndim in {3, 4} and not _is_flat(outputs[name])
        ),
        None,
    )
    if map_name is None:
        return reading
    if outputs[map_name].ndim == 4:
        return replace(reading, map_name=map_name)
    n_tokens = outputs[map_name].shape[1]
    grid = _grid(config, input_size, n_tokens, wishes.n_prefix_tokens)
    if grid is None:
        if reading.pooling is Pooling.MEAN:
            raise CdsError(
                Reason.MODEL_UNAVAILABLE,
                f"Which of the {n_tokens} tokens are patches is not known; give --prefix-tokens.",
            )
        return reading
    rows, columns = grid
    n_prefix = n_tokens - rows * columns
    return replace(
        reading, map_name=map_name, n_prefix_tokens=n_prefix, n_rows=rows, n_columns=columns
    )


def _grid(
    config: Mapping[str, Any], input_size: tuple[int, ...], n_tokens: int, n_prefix: int | None
) -> tuple[int, int] | None:
    """Return rows and columns of the patch tokens, or None if they cannot be told apart."""
    patch = _vision_config(config).get("patch_size")
    if isinstance(patch, int) and patch > 0:
        rows, columns = input_size[0] // patch, input_size[1] // patch
        n_before = n_tokens - rows * columns
        if 0 <= n_before <= n_tokens // 2 and n_prefix in {None, n_before}:
            return rows, columns
    tried = range(2) if n_prefix is None else (n_prefix,)
    sides = [side for n in tried if (side := _square_side(n_tokens - n)) is not None]
    return (sides[0], sides[0]) if len(sides) == 1 else None


def _vision_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = config.get("vision_config")
    return inner if isinstance(inner, dict) and "patch_size" in inner else config


def _square_side(n: int) -> int | None:
    side = math.isqrt(max(n, 0))
    return side if side > 0 and side * side == n else None


def _vectors(
    reading: GraphReading, session: onnxruntime.InferenceSession, batch: Float32Array
) -> Float32Array:
    """Return the embeddings of the generated pictures, checked."""
    together, _ = _raw(reading, session, batch)
    if not np.isfinite(together).all():
        raise CdsError(Reason.MODEL_UNAVAILABLE, "The graph gives values that are not numbers.")
    norms = np.linalg.norm(together, axis=1)
    if (norms <= SMALLEST_NORM).any():
        raise CdsError(Reason.MODEL_UNAVAILABLE, "The graph gives a vector of length zero.")
    unit = together / norms[:, None]
    if np.abs(unit[1:] - unit[0]).max() < _DIFFERENT:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE, "The graph gives the same vector for different pictures."
        )
    alone, _ = reading.raw(session, batch[:1])
    alone = alone / np.linalg.norm(alone, axis=1, keepdims=True)
    if not np.allclose(alone[0], unit[0], atol=1e-3):
        raise CdsError(
            Reason.MODEL_UNAVAILABLE,
            "The graph gives a picture another vector when others are beside it.",
        )
    return together


def _raw(
    reading: GraphReading, session: onnxruntime.InferenceSession, batch: Float32Array
) -> tuple[Float32Array, Float32Array | None]:
    step = reading.batch_size or len(batch)
    parts = [reading.raw(session, batch[i : i + step]) for i in range(0, len(batch), step)]
    maps = [m for _, m in parts if m is not None]
    return np.concatenate([v for v, _ in parts]), np.concatenate(maps) if maps else None


def _relation(
    reading: GraphReading, session: onnxruntime.InferenceSession, batch: Float32Array
) -> MapRelation:
    """Measure whether the map's mean is the embedding."""
    vectors, maps = _raw(reading, session, batch)
    if maps is None:
        return MapRelation.NONE
    means = maps.mean(axis=(2, 3))
    scale = max(float(np.abs(vectors).max()), SMALLEST_NORM)
    is_same = means.shape == vectors.shape and np.allclose(
        means, vectors, atol=_MAP_AGREEMENT * scale
    )
    return MapRelation.EXACT if is_same else MapRelation.INEXACT
