"""Graphs of real architectures, exported by torch with random weights, are read as they are."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from models.huggingface_folder import read_folder
from models.huggingface_graph import Pooling
from models.huggingface_probe import Wishes
from tests.builders.huggingface_folders import BIT_PROCESSOR

SIDE_PX = 64
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE_PX,
    "patch_size": 16,
}
HIDDEN = ("last_hidden_state", "pooler_output")


class _Outputs(torch.nn.Module):
    def __init__(self, model: torch.nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.model(pixel_values=pixel_values)
        return tuple(getattr(outputs, name) for name in self.names)


def _vit() -> Any:
    return transformers.ViTModel(transformers.ViTConfig(intermediate_size=64, **SMALL))


def _without_interpolation(model: Any) -> Any:
    """Leave out the resizing of position embeddings, which the exporter cannot write."""
    embeddings = model.embeddings
    embeddings.interpolate_pos_encoding = lambda *_: embeddings.position_embeddings
    return model


def _dinov2() -> Any:
    return _without_interpolation(transformers.Dinov2Model(transformers.Dinov2Config(**SMALL)))


def _registers() -> Any:
    config = transformers.Dinov2WithRegistersConfig(num_register_tokens=4, **SMALL)
    return _without_interpolation(transformers.Dinov2WithRegistersModel(config))


def _convnext() -> Any:
    config = transformers.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
    return transformers.ConvNextModel(config)


def _clip() -> Any:
    config = transformers.CLIPVisionConfig(intermediate_size=64, projection_dim=16, **SMALL)
    return transformers.CLIPVisionModelWithProjection(config)


@pytest.mark.parametrize(
    ("build", "names", "taken", "n_prefix", "dimension"),
    [
        pytest.param(_vit, HIDDEN, ("last_hidden_state", Pooling.CLS), 1, 32, id="vit"),
        pytest.param(_dinov2, HIDDEN, ("pooler_output", Pooling.NONE), 1, 32, id="dinov2"),
        pytest.param(_registers, HIDDEN, ("pooler_output", Pooling.NONE), 5, 32, id="registers"),
        pytest.param(_convnext, HIDDEN, ("pooler_output", Pooling.NONE), 0, 32, id="convnext"),
        pytest.param(
            _clip,
            ("image_embeds", "last_hidden_state"),
            ("image_embeds", Pooling.NONE),
            1,
            16,
            id="clip",
        ),
    ],
)
def test_architecture_when_exported_is_read(
    tmp_path: Path,
    build: Callable[[], Any],
    names: tuple[str, ...],
    taken: tuple[str, Pooling],
    n_prefix: int,
    dimension: int,
) -> None:
    torch.manual_seed(0)
    model = build().eval()
    with warnings.catch_warnings():  # the exporter warns of itself and of what it traces
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Outputs(model, names),
            (torch.zeros(2, 3, SIDE_PX, SIDE_PX),),
            str(tmp_path / "model.onnx"),
            input_names=["pixel_values"],
            output_names=list(names),
            dynamic_axes={name: {0: "n"} for name in ("pixel_values", *names)},
            opset_version=17,
            dynamo=False,
        )
    model.config.save_pretrained(tmp_path)
    processor = {
        **BIT_PROCESSOR,
        "size": {"shortest_edge": SIDE_PX},
        "crop_size": {"height": SIDE_PX, "width": SIDE_PX},
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))

    probed = read_folder(tmp_path, Wishes()).probed

    assert (probed.reading.output_name, probed.reading.pooling) == taken
    assert probed.reading.map_name == "last_hidden_state"
    assert probed.reading.n_prefix_tokens == n_prefix
    assert probed.dimension == dimension
