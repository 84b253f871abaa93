"""Small encoders in Hugging Face layout, as optimum lays them out; random weights, no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

SIDE_PX = 32
PATCH = 8
WIDTH = 8
N_PATCHES = (SIDE_PX // PATCH) ** 2
PIXEL_VALUES = "pixel_values"

VIT_PROCESSOR: dict[str, Any] = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": SIDE_PX, "width": SIDE_PX},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.6, 0.7],
}
BIT_PROCESSOR: dict[str, Any] = {
    **VIT_PROCESSOR,
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": SIDE_PX},
    "do_center_crop": True,
    "crop_size": {"height": SIDE_PX, "width": SIDE_PX},
    "resample": 3,
    "do_convert_rgb": True,
}
CLIP_PROCESSOR: dict[str, Any] = {**BIT_PROCESSOR, "image_processor_type": "CLIPImageProcessor"}
CONVNEXT_PROCESSOR: dict[str, Any] = {
    **VIT_PROCESSOR,
    "image_processor_type": "ConvNextImageProcessor",
    "size": {"shortest_edge": SIDE_PX},
    "crop_pct": 0.875,
}
# XRV's scale: from -1024 to 1024, one channel.
XRV_PROCESSOR: dict[str, Any] = {
    **BIT_PROCESSOR,
    "image_mean": [0.5],
    "image_std": [1 / 2048],
}


def write_folder(
    folder: Path, model: bytes, *, config: dict[str, Any], processor: dict[str, Any]
) -> Path:
    """Write the three files as `optimum-cli export onnx` does."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def a_vit(folder: Path, *, seed: int = 0, n_registers: int = 0, model_type: str = "vit") -> Path:
    """A class token, registers, patch tokens, and a pooler that is none of them."""
    graph = _Graph(seed)
    tokens = graph.patch_tokens()
    graph.token_sequence(tokens, n_registers)
    graph.add("Gather", ["last_hidden_state", graph.whole("zero", 0)], "class", axis=1)
    graph.add("Tanh", ["class"], "pooler_output")
    config = {"model_type": model_type, "patch_size": PATCH, "image_size": SIDE_PX}
    if n_registers:
        config["num_register_tokens"] = n_registers
    n_tokens = 1 + n_registers + N_PATCHES
    outputs = {"last_hidden_state": ["n", n_tokens, WIDTH], "pooler_output": ["n", WIDTH]}
    return write_folder(folder, graph.model(outputs), config=config, processor=VIT_PROCESSOR)


def a_convnext(folder: Path, *, seed: int = 0) -> Path:
    """A feature map, and its average with another scale per channel, as a layer norm leaves it."""
    graph = _Graph(seed)
    graph.convolution("last_hidden_state")
    graph.add("GlobalAveragePool", ["last_hidden_state"], "average")
    graph.add("Flatten", ["average"], "flat", axis=1)
    graph.add("Mul", ["flat", graph.weight("scale", (WIDTH,))], "pooler_output")
    outputs = {
        "last_hidden_state": ["n", WIDTH, SIDE_PX // PATCH, SIDE_PX // PATCH],
        "pooler_output": ["n", WIDTH],
    }
    config = {"model_type": "convnext", "image_size": SIDE_PX}
    return write_folder(folder, graph.model(outputs), config=config, processor=CONVNEXT_PROCESSOR)


def a_clip_tower(folder: Path, *, seed: int = 0) -> Path:
    """Projected `image_embeds` of another width than the tokens."""
    graph = _Graph(seed)
    graph.token_sequence(graph.patch_tokens(), 0)
    graph.add("Gather", ["last_hidden_state", graph.whole("zero", 0)], "class", axis=1)
    graph.add("MatMul", ["class", graph.weight("projection", (WIDTH, 6))], "image_embeds")
    config = {
        "model_type": "clip_vision_model",
        "vision_config": {"patch_size": PATCH, "image_size": SIDE_PX},
    }
    outputs = {"image_embeds": ["n", 6], "last_hidden_state": ["n", 1 + N_PATCHES, WIDTH]}
    return write_folder(folder, graph.model(outputs), config=config, processor=CLIP_PROCESSOR)


def a_densenet(folder: Path, *, seed: int = 0, only_logits: bool = False) -> Path:
    """One channel; the layer before the classifier as a map, or the classifier's scores alone."""
    graph = _Graph(seed, n_channels=1)
    graph.convolution("feature_map")
    graph.add("GlobalAveragePool", ["feature_map"], "average")
    graph.add("Flatten", ["average"], "flat", axis=1)
    graph.add("MatMul", ["flat", graph.weight("classes", (WIDTH, 5))], "logits")
    outputs: dict[str, list[str | int]] = {"logits": ["n", 5]}
    if not only_logits:
        outputs["feature_map"] = ["n", WIDTH, SIDE_PX // PATCH, SIDE_PX // PATCH]
    config = {"model_type": "densenet", "num_channels": 1}
    return write_folder(folder, graph.model(outputs), config=config, processor=XRV_PROCESSOR)


class _Graph:
    """Collects nodes and weights of one graph."""

    def __init__(self, seed: int, n_channels: int = 3) -> None:
        self._generator = np.random.default_rng(seed)
        self._n_channels = n_channels
        self._nodes: list[NodeProto] = []
        self._values: dict[str, np.ndarray] = {}

    def weight(self, name: str, shape: tuple[int, ...]) -> str:
        self._values[name] = self._generator.normal(size=shape).astype(np.float32)
        return name

    def whole(self, name: str, value: int | list[int]) -> str:
        self._values[name] = np.array(value, np.int64)
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolution(self, output: str) -> str:
        kernel = self.weight("kernel", (WIDTH, self._n_channels, PATCH, PATCH))
        bias = self.weight("bias", (WIDTH,))
        return self.add("Conv", [PIXEL_VALUES, kernel, bias], output, strides=[PATCH, PATCH])

    def patch_tokens(self) -> str:
        grid = self.convolution("grid")
        flat = self.add("Reshape", [grid, self.whole("shape", [0, 0, -1])], "flat_grid")
        return self.add("Transpose", [flat], "patches", perm=[0, 2, 1])

    def token_sequence(self, patches: str, n_registers: int) -> None:
        mean = self.add("ReduceMean", [patches], "mean", axes=[1], keepdims=1)
        parts = [
            self.add("Mul", [mean, self.weight(f"token_weight{i}", (WIDTH,))], f"token{i}")
            for i in range(1 + n_registers)
        ]
        self.add("Concat", [*parts, patches], "last_hidden_state", axis=1)

    def model(self, outputs: dict[str, list[Any]]) -> bytes:
        graph = helper.make_graph(
            self._nodes,
            "small",
            [_value(PIXEL_VALUES, ["n", self._n_channels, SIDE_PX, SIDE_PX])],
            [_value(name, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in self._values.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        content: bytes = model.SerializeToString()
        return content


def _value(name: str, shape: list[Any]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
