"""A ten-line encoder graph in a complete folder, so that tests need no trained weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

from models.embedder import EMBEDDING_OUTPUT, FEATURE_MAP_OUTPUT, INPUT_NAME
from models.manifest import CONFIG_FILE, MODEL_FILE, PREPROCESSOR_FILE, Manifest
from models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from pathlib import Path

DIMENSION = 8
SIZE_PX = 32


def tiny_encoder(folder: Path, *, seed: int = 0, bias: float = 0.1, dimension: int = 0) -> Path:
    """Write one strided convolution, pooled and scaled to unit norm; not a useful encoder."""
    folder.mkdir(parents=True)
    preprocessing = Preprocessing(size_px=SIZE_PX)
    (folder / MODEL_FILE).write_bytes(_graph(seed, bias))
    (folder / PREPROCESSOR_FILE).write_text(json.dumps(preprocessing.to_config()))
    (folder / CONFIG_FILE).write_text("{}")
    Manifest.of_folder(folder, created_on="2026-11-20", dimension=dimension or DIMENSION).write(
        folder
    )
    return folder


def _graph(seed: int, bias: float) -> bytes:
    generator = np.random.default_rng(seed)
    weight = generator.normal(size=(DIMENSION, 3, 8, 8)).astype(np.float32) * (bias != 0.0)
    values = {"weight": weight, "bias": np.full(DIMENSION, bias, np.float32)}
    nodes = [
        helper.make_node(
            "Conv", [INPUT_NAME, "weight", "bias"], [FEATURE_MAP_OUTPUT], strides=[8, 8]
        ),
        helper.make_node("GlobalAveragePool", [FEATURE_MAP_OUTPUT], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("LpNormalization", ["flat"], [EMBEDDING_OUTPUT], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [_value(INPUT_NAME, ["n", 3, SIZE_PX, SIZE_PX])],
        [
            _value(EMBEDDING_OUTPUT, ["n", DIMENSION]),
            _value(FEATURE_MAP_OUTPUT, ["n", DIMENSION, SIZE_PX // 8, SIZE_PX // 8]),
        ],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def _value(name: str, shape: list[str | int]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
