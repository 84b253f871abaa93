"""Writes a trained encoder as the folder that the product opens, and checks that both agree."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from torch import nn

from models.embedder import (
    EMBEDDING_OUTPUT,
    FEATURE_MAP_OUTPUT,
    FINDING_LOGITS_OUTPUT,
    INPUT_NAME,
)
from models.manifest import CONFIG_FILE, MODEL_FILE, PREPROCESSOR_FILE, Manifest, TrainingRows
from models.training.half_precision import halve, round_to_half

if TYPE_CHECKING:
    from pathlib import Path

    from models.preprocessing import Preprocessing
    from models.training.mobilenet import RetrievalEncoder

OPSET_VERSION = 17
# The shipped model is the one file exempt from the repository's size rule; this is its own limit.
MAX_MODEL_BYTES = 16 * 1024 * 1024
PARITY_TOLERANCE = 1e-4


class ExportError(ValueError):
    """The exported file does not compute what torch computes, or is too large."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the manifest says about where an encoder comes from.

    Attributes
    ----------
    created_on
        ISO date.
    training
        The rows that were used.

    """

    created_on: str
    training: tuple[TrainingRows, ...] = ()


class ExportedGraph(nn.Module):
    """What the ONNX file computes: embedding, feature map and, with heads, finding logits."""

    def __init__(self, encoder: RetrievalEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map ``(n, 3, h, w)`` to the outputs that `output_names` names."""
        embedding, feature_map = self.encoder(images)
        heads = self.encoder.finding_heads
        if heads is None or not heads.names:
            return embedding, feature_map
        return embedding, feature_map, heads(self.encoder.learnt(embedding))


def output_names(encoder: RetrievalEncoder) -> list[str]:
    """Return the outputs of an encoder's graph, in order."""
    heads = encoder.finding_heads
    logits = [FINDING_LOGITS_OUTPUT] if heads is not None and heads.names else []
    return [EMBEDDING_OUTPUT, FEATURE_MAP_OUTPUT, *logits]


def export_encoder(
    encoder: RetrievalEncoder,
    preprocessing: Preprocessing,
    folder: Path,
    provenance: Provenance,
) -> float:
    """Write model, configuration and manifest, and compare ONNX with torch.

    Parameters
    ----------
    encoder
        The trained network.
    preprocessing
        What it was trained with.
    folder
        Made if missing; its name becomes the encoder's.
    provenance
        What the manifest says.

    Returns
    -------
    float
        Difference between torch and ONNX, as `parity` gives it.

    Raises
    ------
    ExportError
        If the two differ by more than `PARITY_TOLERANCE`, or the file is larger than
        `MAX_MODEL_BYTES`.

    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder = encoder.eval()
    is_halved = encoder.anchor is not None
    if is_halved:
        round_to_half(encoder)
    _write_onnx(encoder, preprocessing, folder / MODEL_FILE)
    if is_halved:
        halve(folder / MODEL_FILE)
    _write_json(folder / PREPROCESSOR_FILE, preprocessing.to_config())
    _write_json(folder / CONFIG_FILE, _configuration(encoder, preprocessing))
    difference = parity(encoder, preprocessing, folder / MODEL_FILE)
    if difference > PARITY_TOLERANCE:
        raise ExportError(f"torch and ONNX differ by {difference:.2e}")
    if (folder / MODEL_FILE).stat().st_size > MAX_MODEL_BYTES:
        raise ExportError(f"{MODEL_FILE} is larger than {MAX_MODEL_BYTES} bytes")
    Manifest.of_folder(
        folder,
        created_on=provenance.created_on,
        dimension=encoder.dimension,
        training=provenance.training,
    ).write(folder)
    return difference


def parity(encoder: RetrievalEncoder, preprocessing: Preprocessing, model: Path) -> float:
    """Return the largest difference between torch and ONNX on three generated pictures.

    Parameters
    ----------
    encoder
        In evaluation mode.
    preprocessing
        Gives the input's shape.
    model
        The exported file.

    Returns
    -------
    float
        Maximum absolute difference over all outputs; of an output with values beyond 1, as a share
        of its largest.

    """
    size = preprocessing.size_px
    shape = (3, len(preprocessing.mean), size, size)
    image_batch = np.random.default_rng(20261120).uniform(-1.0, 1.0, shape).astype(np.float32)
    with torch.no_grad():
        expected = [o.numpy() for o in ExportedGraph(encoder)(torch.from_numpy(image_batch))]
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    actual = session.run(output_names(encoder), {INPUT_NAME: image_batch})
    return max(
        float(np.abs(a - e).max() / max(1.0, np.abs(e).max()))
        for a, e in zip(actual, expected, strict=True)
    )


def _configuration(encoder: RetrievalEncoder, preprocessing: Preprocessing) -> dict[str, object]:
    """Describe the graph as a Hugging Face ``config.json``."""
    configuration: dict[str, object] = {
        "architectures": ["RetrievalEncoder"],
        "model_type": "mobilenet_v2",
        "hidden_size": encoder.dimension,
        "image_size": preprocessing.size_px,
        "num_channels": len(preprocessing.mean),
        "opset_version": OPSET_VERSION,
    }
    if encoder.anchor is not None:
        configuration["anchor"] = asdict(encoder.anchor.shape)
    heads = encoder.finding_heads
    if heads is not None and heads.names:
        configuration["id2label"] = {str(n): name for n, name in enumerate(heads.names)}
        configuration["label2id"] = {name: n for n, name in enumerate(heads.names)}
        # Labels of one source are never compared with those of another, so each has its own block.
        configuration["finding_heads"] = [
            {
                "source": space.source,
                "labels": list(space.labels),
                "activation": "softmax" if space.is_exclusive else "sigmoid",
            }
            for space in heads.spaces
        ]
    return configuration


def _write_onnx(encoder: RetrievalEncoder, preprocessing: Preprocessing, path: Path) -> None:
    """Trace the encoder with a free batch axis."""
    size = preprocessing.size_px
    outputs = output_names(encoder)
    # Traced as the runtime lays pictures out; training used another order in memory.
    graph = ExportedGraph(encoder.to(memory_format=torch.contiguous_format))
    with warnings.catch_warnings():
        # The exporter that needs no further package is deprecated, and says of each padding that
        # it could not be folded (torch 2.13, 2026-11); `parity` checks what comes out.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message="Constant folding")
        torch.onnx.export(
            graph,
            # Two pictures: with one, the magnified views of one picture look like a fixed batch.
            (torch.zeros(2, len(preprocessing.mean), size, size),),
            str(path),
            input_names=[INPUT_NAME],
            output_names=outputs,
            dynamic_axes={name: {0: "n"} for name in (INPUT_NAME, *outputs)},
            opset_version=OPSET_VERSION,
            dynamo=False,
        )


def _write_json(path: Path, content: object) -> None:
    """Write JSON with sorted keys."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
