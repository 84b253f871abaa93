"""Invariants of the one preprocessing function."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from cds.domain.errors import CdsError, Reason
from models.borders import BorderRule, content_bounds
from models.preprocessing import ContrastRule, Preprocessing
from tests.unit.models.radiographs import a_radiograph

if TYPE_CHECKING:
    from pathlib import Path

    Float32Array = NDArray[np.float32]

PREPROCESSING = Preprocessing()


@pytest.mark.parametrize("shape", [(180, 150), (150, 180), (300, 40), (1201, 977), (16, 16)])
def test_preprocessing_of_any_shape_gives_the_encoder_input(shape: tuple[int, int]) -> None:
    result = PREPROCESSING(a_radiograph(rows=shape[0], columns=shape[1]))

    assert result.shape == (3, 224, 224)
    assert result.dtype == np.float32
    assert result.min() == -1.0
    assert result.max() <= 1.0


def test_preprocessing_of_one_channel_gives_one_channel() -> None:
    result = Preprocessing(mean=(0.5,), std=(0.25,))(a_radiograph())

    assert result.shape == (1, 224, 224)
    assert result.min() == -2.0


def test_preprocessing_leaves_its_input_unchanged() -> None:
    pixels = a_radiograph()
    before = pixels.copy()

    PREPROCESSING(pixels)

    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("border", [0.0, 0.4, 1.0], ids=["dark", "grey", "bright"])
def test_preprocessing_of_a_framed_picture_equals_that_of_the_picture(border: float) -> None:
    bare = PREPROCESSING(a_radiograph(3))
    framed = PREPROCESSING(a_radiograph(3, border_px=24, border=border))

    assert np.array_equal(bare, framed)


@pytest.mark.parametrize(("slope", "offset"), [(0.5, 0.0), (0.6, 0.3), (0.1, 0.85)])
def test_preprocessing_of_another_window_gives_the_same_picture(
    slope: float, offset: float
) -> None:
    pixels = a_radiograph(5)
    windowed = (pixels * np.float32(slope) + np.float32(offset)).astype(np.float32)

    assert np.allclose(PREPROCESSING(pixels), PREPROCESSING(windowed), atol=2e-4)


def test_preprocessing_of_a_wide_picture_centres_it_on_black() -> None:
    square = PREPROCESSING.grey_square(a_radiograph(rows=112, columns=224))

    assert not square[:56].any()
    assert not square[168:].any()
    assert square[56:168].mean() > 0.2


def _with_few_bright_pixels() -> Float32Array:
    pixels = np.zeros((200, 200), dtype=np.float32)
    pixels[3:6, 3:20] = 1.0
    return pixels


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((64, 64), dtype=np.float32),
        np.ones((64, 64), dtype=np.float32),
        np.full((64, 64), 0.5, dtype=np.float32),
        np.linspace(0.5, 0.51, 4096, dtype=np.float32).reshape(64, 64),
        _with_few_bright_pixels(),
    ],
    ids=["black", "white", "grey", "almost-constant", "text-on-black"],
)
def test_preprocessing_of_a_blank_picture_is_refused(pixels: Float32Array) -> None:
    with pytest.raises(CdsError, match="blank") as refusal:
        PREPROCESSING(pixels)

    assert refusal.value.reason is Reason.IMAGE_UNREADABLE


@pytest.mark.parametrize("shape", [(15, 200), (200, 15), (0, 0), (200,), (3, 200, 200)])
def test_preprocessing_of_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CdsError) as refusal:
        PREPROCESSING(np.zeros(shape, dtype=np.float32))

    assert refusal.value.reason is Reason.IMAGE_UNREADABLE


def test_preprocessing_of_values_that_are_not_numbers_is_refused() -> None:
    pixels = a_radiograph()
    pixels[40, 40] = np.nan

    with pytest.raises(CdsError, match="not numbers") as refusal:
        PREPROCESSING(pixels)

    assert refusal.value.reason is Reason.IMAGE_UNREADABLE


def test_bounds_when_more_than_the_allowed_share_is_border_stop_there() -> None:
    pixels = np.zeros((100, 100), dtype=np.float32)
    pixels[80:, 80:] = a_radiograph(rows=20, columns=20)

    rows, columns = content_bounds(pixels, BorderRule(max_fraction=0.3))

    assert (rows, columns) == (slice(30, 100), slice(30, 100))


def test_bounds_when_a_marker_lies_in_the_border_cut_it_off() -> None:
    pixels = a_radiograph(rows=200, columns=200, border_px=30)
    pixels[10:14, 100:103] = 1.0

    assert content_bounds(pixels, BorderRule()) == (slice(30, 230), slice(30, 230))


def test_hash_when_configuration_makes_a_round_trip_stays(tmp_path: Path) -> None:
    preprocessing = Preprocessing(
        size_px=96, mean=(0.4,), std=(0.3,), border=BorderRule(0.03, 0.2), contrast=ContrastRule(1)
    )
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(preprocessing.to_config()))

    assert Preprocessing.from_file(file) == preprocessing
    assert Preprocessing.from_file(file).hash == preprocessing.hash


@pytest.mark.parametrize(
    "other",
    [
        Preprocessing(size_px=192),
        Preprocessing(mean=(0.5, 0.5, 0.4)),
        Preprocessing(border=BorderRule(tolerance=0.03)),
        Preprocessing(contrast=ContrastRule(high_percentile=99.0)),
    ],
)
def test_hash_when_any_rule_differs_differs(other: Preprocessing) -> None:
    assert other.hash != PREPROCESSING.hash


@pytest.mark.parametrize(
    "change",
    [
        {"resample": 3},
        {"do_center_crop": True},
        {"size": {"shortest_edge": 224}},
        {"image_std": [0.0, 0.5, 0.5]},
        {"precedent": {"algorithm_version": 99, "trim_borders": {}, "contrast": {}}},
    ],
    ids=["resample", "centre-crop", "shortest-edge", "zero-std", "version"],
)
def test_configuration_that_asks_for_something_else_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(CdsError) as refusal:
        Preprocessing.from_config({**PREPROCESSING.to_config(), **change})

    assert refusal.value.reason is Reason.MODEL_UNAVAILABLE


def test_configuration_that_is_not_json_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "preprocessor_config.json"
    file.write_text("{")

    with pytest.raises(CdsError) as refusal:
        Preprocessing.from_file(file)

    assert refusal.value.reason is Reason.MODEL_UNAVAILABLE


def test_preprocessing_of_a_full_range_square_equals_the_transformers_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(os.environ, "TRANSFORMERS_VERBOSITY", "error")
    from transformers import ViTImageProcessor

    stored = np.rint(a_radiograph(rows=301, columns=301) * 255).astype(np.uint8)
    stored[100:110, 100:110], stored[120:130, 120:130] = 0, 255
    plain = Preprocessing(contrast=ContrastRule(low_percentile=0.0, high_percentile=100.0))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(plain.to_config()))
    processor = ViTImageProcessor.from_pretrained(tmp_path)

    theirs = processor(np.repeat(stored[:, :, None], 3, axis=2), return_tensors="np")
    ours = plain(stored.astype(np.float32) / np.float32(255))

    # Theirs rounds to 1/255 after resizing; ours goes on with floats.
    assert np.abs(theirs["pixel_values"][0] - ours).max() <= 1.01 / 255 / 0.5
