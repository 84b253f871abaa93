"""Reads any `preprocessor_config.json`: ours, and those of plain Hugging Face image processors."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cds.domain.errors import CdsError, Reason
from models.preprocessing import (
    BLANK,
    MINIMUM_SIDE_PX,
    Preprocessing,
    canonical_hash,
    normalised,
    refuse_unusable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Float32Array = NDArray[np.float32]

# Raised whenever the arithmetic below changes: an index built with another version is refused.
ALGORITHM_VERSION = 1
MAXIMUM_SIDE_PX = 2048
BLANK_SPREAD = 0.02  # as our own processing refuses it: between two percentiles, of [0, 1]
_LARGEST_BYTE = 255
_CONVNEXT_WARPED_SIDE_PX = 384  # transformers' ConvNextImageProcessor: from here on no crop


@dataclass(frozen=True, slots=True)
class HuggingFaceProcessing:
    """What an image processor of `transformers` does, from pixels in [0, 1]; a value.

    In this order: to eight bits and, where asked, resize (antialiased, Pillow); centre crop or
    black padding; rescale; subtract `mean` and divide by `std` per channel. All channels come from
    one grey plane.

    Attributes
    ----------
    shortest_edge
        The shorter side after resizing; None where `resized` says both.
    resized
        Rows and columns after resizing; None keeps the size or follows `shortest_edge`.
    resample
        Pillow's number.
    cropped
        Rows and columns after the centre crop; None leaves them.
    rescale_factor
        From bytes to the scale of `mean`.
    mean, std
        One or three channels.

    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    shortest_edge: int | None = None
    resized: tuple[int, int] | None = None
    resample: int = 2
    cropped: tuple[int, int] | None = None
    rescale_factor: float = 1 / 255

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or len(self.mean) not in {1, 3}:
            raise ValueError("mean and std hold one or three channels")
        if not all(math.isfinite(v) for v in (*self.mean, *self.std, self.rescale_factor)):
            raise ValueError("mean, std and rescale_factor are finite")
        if not all(value > 0.0 for value in self.std) or self.rescale_factor <= 0:
            raise ValueError("std and rescale_factor are positive")
        Image.Resampling(self.resample)
        if self.cropped is None and self.resized is None:
            raise ValueError("the encoder's input has one size")
        sides = (self.shortest_edge, *(self.resized or ()), *(self.cropped or ()))
        if not all(MINIMUM_SIDE_PX <= side <= MAXIMUM_SIDE_PX for side in sides if side):
            raise ValueError(f"sides lie between {MINIMUM_SIDE_PX} and {MAXIMUM_SIDE_PX}")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Return channels, rows and columns of the encoder's input."""
        rows, columns = self.cropped or self.resized or (0, 0)
        return len(self.mean), rows, columns

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON: equal hash, equal result."""
        return canonical_hash({"algorithm_version": ALGORITHM_VERSION, "huggingface": asdict(self)})

    def __call__(self, pixels: Float32Array) -> Float32Array:
        """Turn one radiograph into the encoder's input.

        Parameters
        ----------
        pixels
            Shape ``(rows, columns)``, float32 in [0, 1], air dark.

        Returns
        -------
        numpy.ndarray
            Shape ``input_shape``, float32.

        Raises
        ------
        CdsError
            IMAGE_UNREADABLE if the picture is too small, blank, not finite or not two-dimensional.

        """
        refuse_unusable(pixels)
        _refuse_blank(pixels)
        byte_values = np.clip(np.rint(pixels * _LARGEST_BYTE), 0, _LARGEST_BYTE).astype(np.uint8)
        grey = self._resized(byte_values)
        if self.cropped is not None:
            grey = _centre_cropped(grey, self.cropped)
        scaled = grey.astype(np.float32) * np.float32(self.rescale_factor)
        return normalised(scaled, self.mean, self.std)

    def _resized(self, grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rows, columns = self.resized or grey.shape
        if self.shortest_edge is not None:
            rows, columns = _with_shortest_edge(grey.shape, self.shortest_edge)
        if (rows, columns) == grey.shape:
            return grey
        resized = Image.fromarray(grey).resize((columns, rows), Image.Resampling(self.resample))
        return np.asarray(resized, dtype=np.uint8)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read the configuration of a `transformers` image processor.

        Raises
        ------
        CdsError
            MODEL_UNAVAILABLE if it needs code of its own, or asks for a step or size that is not
            known here.

        """
        if "auto_map" in config:
            raise CdsError(
                Reason.MODEL_UNAVAILABLE,
                "The image model's preprocessing comes with code of its own, which is not run.",
            )
        try:
            return cls(**_steps(config))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CdsError(
                Reason.MODEL_UNAVAILABLE,
                "The image model's preprocessor_config.json asks for a preprocessing that is not "
                "known here; see docs/bring-your-own-encoder.md.",
            ) from error


def preprocessing_from_config(config: Mapping[str, Any]) -> Preprocessing | HuggingFaceProcessing:
    """Read a parsed ``preprocessor_config.json``, ours or a plain one.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE as the two ``from_config``.

    """
    if "precedent" in config:
        return Preprocessing.from_config(config)
    return HuggingFaceProcessing.from_config(config)


def _steps(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `HuggingFaceProcessing` for the keys that processors have in common."""
    unknown = [k for k in ("do_pad", "do_thumbnail", "do_align_long_axis") if config.get(k)]
    if unknown:
        raise ValueError(f"{unknown[0]} is not known")
    does_normalise = config.get("do_normalize", True)
    mean = config["image_mean"] if does_normalise else [0.0] * 3
    std = config["image_std"] if does_normalise else [1.0] * 3
    does_rescale = config.get("do_rescale", True)
    return {
        "mean": tuple(float(v) for v in _listed(mean)),
        "std": tuple(float(v) for v in _listed(std)),
        "resample": int(config.get("resample", 2)),
        "rescale_factor": float(config.get("rescale_factor", 1 / 255)) if does_rescale else 1.0,
        **_sizes(config),
    }


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    size = config.get("size") or {}
    if isinstance(size, int):
        size = _old_size(size, str(config.get("image_processor_type", "")))
    is_convnext = str(config.get("image_processor_type", "")).startswith("ConvNext")
    if is_convnext:
        return _convnext_sizes(
            int(size["shortest_edge"]), float(config.get("crop_pct") or 224 / 256)
        )
    found: dict[str, Any] = {}
    if config.get("do_resize", True):
        if "shortest_edge" in size:
            found["shortest_edge"] = int(size["shortest_edge"])
        else:
            found["resized"] = (int(size["height"]), int(size["width"]))
    if config.get("do_center_crop", "crop_size" in config and "shortest_edge" in size):
        crop = config["crop_size"]
        crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
        found["cropped"] = (int(crop["height"]), int(crop["width"]))
    return found


def _old_size(side: int, processor: str) -> dict[str, int]:
    """Read a bare number: CLIP and ConvNeXt mean the shortest edge, others a square."""
    if processor.startswith(("CLIP", "ConvNext", "Bit")):
        return {"shortest_edge": side}
    return {"height": side, "width": side}


def _convnext_sizes(side: int, crop_share: float) -> dict[str, Any]:
    if side >= _CONVNEXT_WARPED_SIDE_PX:
        return {"resized": (side, side)}
    return {"shortest_edge": int(side / crop_share), "cropped": (side, side)}


def _listed(values: Any) -> list[float]:  # noqa: ANN401  # JSON
    return list(values) if isinstance(values, list) else [values] * 3


def _with_shortest_edge(shape: tuple[int, ...], edge: int) -> tuple[int, int]:
    """Return rows and columns as `transformers` does: the longer side is cut to a whole number."""
    rows, columns = shape
    short, long = min(rows, columns), max(rows, columns)
    new_long = int(edge * long / short)
    return (new_long, edge) if columns <= rows else (edge, new_long)


def _centre_cropped(grey: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Crop around the centre; a smaller picture is put on black, as `transformers` does."""
    (rows, columns), (wanted_rows, wanted_columns) = grey.shape, size
    top, left = (rows - wanted_rows) // 2, (columns - wanted_columns) // 2
    if top >= 0 and left >= 0:
        return grey[top : top + wanted_rows, left : left + wanted_columns]
    tall, wide = max(wanted_rows, rows), max(wanted_columns, columns)
    padded = np.zeros((tall, wide), dtype=np.uint8)
    first_row, first_column = math.ceil((tall - rows) / 2), math.ceil((wide - columns) / 2)
    padded[first_row : first_row + rows, first_column : first_column + columns] = grey
    top, left = max(0, top + first_row), max(0, left + first_column)
    return padded[top : top + wanted_rows, left : left + wanted_columns]


def _refuse_blank(pixels: Float32Array) -> None:
    low, high = np.percentile(pixels[::4, ::4], (0.5, 99.5))
    if high - low < BLANK_SPREAD:
        raise CdsError(Reason.IMAGE_UNREADABLE, BLANK)
