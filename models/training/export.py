"""Writes a trained encoder as the folder that the product opens, and checks that both agree."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch

from models.embedder import EMBEDDING_OUTPUT, FEATURE_MAP_OUTPUT, INPUT_NAME
from models.manifest import CONFIG_FILE, MODEL_FILE, PREPROCESSOR_FILE, Manifest, TrainingRows

if TYPE_CHECKING:
    from pathlib import Path

    from models.preprocessing import Preprocessing
    from models.training.mobilenet import RetrievalEncoder

OPSET_VERSION = 17
# The shipped model is the one file exempt from the repository's size rule; this is its own limit.
MAX_MODEL_BYTES = 16 * 1024 * 1024
PARITY_TOLERANCE = 1e-4


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
        Largest absolute difference between torch and ONNX over both outputs.

    Raises
    ------
    ValueError
        If the two differ by more than `PARITY_TOLERANCE`, or the file is larger than
        `MAX_MODEL_BYTES`.

    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder = encoder.eval()
    _write_onnx(encoder, preprocessing, folder / MODEL_FILE)
    _write_json(folder / PREPROCESSOR_FILE, preprocessing.to_config())
    dimension = encoder.projection.out_channels
    _write_json(
        folder / CONFIG_FILE,
        {
            "architectures": ["RetrievalEncoder"],
            "model_type": "mobilenet_v2",
            "hidden_size": dimension,
            "image_size": preprocessing.size_px,
            "num_channels": len(preprocessing.mean),
            "opset_version": OPSET_VERSION,
        },
    )
    difference = parity(encoder, preprocessing, folder / MODEL_FILE)
    if difference > PARITY_TOLERANCE:
        raise ValueError(f"torch and ONNX differ by {difference:.2e}")
    if (folder / MODEL_FILE).stat().st_size > MAX_MODEL_BYTES:
        raise ValueError(f"{MODEL_FILE} is larger than {MAX_MODEL_BYTES} bytes")
    Manifest.of_folder(
        folder,
        created_on=provenance.created_on,
        dimension=dimension,
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
        Maximum absolute difference over embedding and feature map.

    """
    size = preprocessing.size_px
    shape = (3, len(preprocessing.mean), size, size)
    image_batch = np.random.default_rng(20261120).uniform(-1.0, 1.0, shape).astype(np.float32)
    with torch.no_grad():
        expected = [output.numpy() for output in encoder(torch.from_numpy(image_batch))]
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    actual = session.run([EMBEDDING_OUTPUT, FEATURE_MAP_OUTPUT], {INPUT_NAME: image_batch})
    return max(float(np.abs(a - e).max()) for a, e in zip(actual, expected, strict=True))


def _write_onnx(encoder: RetrievalEncoder, preprocessing: Preprocessing, path: Path) -> None:
    """Trace the encoder with a free batch axis."""
    size = preprocessing.size_px
    names = (INPUT_NAME, EMBEDDING_OUTPUT, FEATURE_MAP_OUTPUT)
    with warnings.catch_warnings():
        # The exporter that needs no further package is deprecated, and says of each padding that
        # it could not be folded (torch 2.13, 2026-11); `parity` checks what comes out.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message="Constant folding")
        torch.onnx.export(
            encoder,
            (torch.zeros(1, len(preprocessing.mean), size, size),),
            str(path),
            input_names=[INPUT_NAME],
            output_names=[EMBEDDING_OUTPUT, FEATURE_MAP_OUTPUT],
            dynamic_axes={name: {0: "n"} for name in names},
            opset_version=OPSET_VERSION,
            dynamo=False,
        )


def _write_json(path: Path, content: object) -> None:
    """Write JSON with sorted keys."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
