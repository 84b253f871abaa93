"""Our reading of a plain preprocessor_config.json gives what transformers' processor gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cds.domain.errors import CdsError, Reason
from models.huggingface_processing import HuggingFaceProcessing, preprocessing_from_config
from models.preprocessing import Preprocessing
from tests.builders.huggingface_folders import (
    BIT_PROCESSOR,
    CLIP_PROCESSOR,
    CONVNEXT_PROCESSOR,
    VIT_PROCESSOR,
)

RAD_DINO = {  # the values of microsoft/rad-dino's file, at a smaller size
    **BIT_PROCESSOR,
    "size": {"shortest_edge": 70},
    "crop_size": {"height": 70, "width": 70},
    "image_mean": [0.5307, 0.5307, 0.5307],
    "image_std": [0.2583, 0.2583, 0.2583],
}
CASES = {
    "vit": ("ViTImageProcessorPil", VIT_PROCESSOR),
    "bit-as-rad-dino": ("BitImageProcessorPil", RAD_DINO),
    "clip": ("CLIPImageProcessorPil", CLIP_PROCESSOR),
    "convnext-small": ("ConvNextImageProcessorPil", CONVNEXT_PROCESSOR),
    "convnext-large": (
        "ConvNextImageProcessorPil",
        {**CONVNEXT_PROCESSOR, "size": {"shortest_edge": 384}},
    ),
    "crop-larger-than-resized": (
        "BitImageProcessorPil",
        {**BIT_PROCESSOR, "size": {"shortest_edge": 24}},
    ),
}


def a_picture(rows: int, columns: int) -> np.ndarray:
    bytes_ = np.random.default_rng(rows * columns).integers(0, 256, (rows, columns))
    smooth = np.add.outer(np.arange(rows), np.arange(columns)) % 256
    return np.asarray((bytes_ + 3 * smooth) // 4, np.float32) / np.float32(255)


def their_processor(class_name: str, config: dict[str, Any]) -> Any:
    import transformers

    known = {k: v for k, v in config.items() if k != "image_processor_type"}
    return getattr(transformers, class_name)(**known)


@pytest.mark.parametrize("shape", [(200, 151), (151, 200), (33, 47), (64, 64)])
@pytest.mark.parametrize("name", CASES)
def test_processing_when_compared_with_transformers_agrees(
    name: str, shape: tuple[int, int]
) -> None:
    class_name, config = CASES[name]
    pixels = a_picture(*shape)
    rgb = np.repeat(np.rint(pixels * 255).astype(np.uint8)[..., None], 3, axis=2)
    theirs = np.asarray(their_processor(class_name, config)(rgb)["pixel_values"])[0]

    ours = HuggingFaceProcessing.from_config(config)

    assert ours.input_shape == theirs.shape
    assert np.abs(ours(pixels) - theirs).max() < 1e-5


def test_config_with_our_block_is_read_as_ours() -> None:
    ours = Preprocessing()
    assert preprocessing_from_config(ours.to_config()) == ours


@pytest.mark.parametrize(
    "change",
    [
        {"size": {"longest_edge": 32}},
        {"image_mean": [0.5, 0.5]},
        {"image_std": [0.0, 0.1, 0.1]},
        {"size": {"height": 4, "width": 4}},
        {"size": {"height": 9000, "width": 9000}},
        {"resample": 17},
        {"do_pad": True},
        {"rescale_factor": 0},
    ],
    ids=",".join,
)
def test_config_when_it_asks_for_something_else_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CdsError) as refused:
        HuggingFaceProcessing.from_config({**VIT_PROCESSOR, **change})
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


def test_hash_differs_with_every_step() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"resample": 3},
        {"rescale_factor": 1.0},
        {"image_mean": [0.1, 0.1, 0.1]},
        {"size": {"height": 64, "width": 32}},
    ]
    hashes = {HuggingFaceProcessing.from_config({**VIT_PROCESSOR, **c}).hash for c in changes}
    assert len(hashes) == len(changes)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((64, 64), 0.5, np.float32),
        np.full((64, 64), np.nan, np.float32),
        np.zeros((8, 8), np.float32),
        np.zeros((64, 64, 3), np.float32),
    ],
    ids=["blank", "not-a-number", "too-small", "three-axes"],
)
def test_picture_that_cannot_be_used_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(CdsError) as refused:
        HuggingFaceProcessing.from_config(VIT_PROCESSOR)(pixels)
    assert refused.value.reason is Reason.IMAGE_UNREADABLE
