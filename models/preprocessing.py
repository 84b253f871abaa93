"""The one way from a radiograph to the encoder's input, in training and in serving alike."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cds.domain.errors import CdsError, Reason
from models.borders import BorderRule, content_bounds
from models.order_statistics import outer_percentiles
from models.picture_geometry import PictureGeometry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Float32Array = NDArray[np.float32]

CONFIG_FILE = "preprocessor_config.json"

# Raised whenever the arithmetic below changes: an index built with another version is refused.
ALGORITHM_VERSION = 1
MINIMUM_SIDE_PX = 16
BLANK = "The picture is blank: it has next to no contrast."
# Borders and percentiles are estimated on at most this many rows and columns.
_ESTIMATION_SIDE_PX = 512
# Pillow's number for bilinear, which is what `resample` holds in a Hugging Face configuration.
_BILINEAR = 2


@dataclass(frozen=True, slots=True)
class ContrastRule:
    """Which grey values become black and white.

    Attributes
    ----------
    low_percentile, high_percentile
        Percentiles of the picture inside its borders that are mapped to 0 and 1.
    minimum_spread
        Smallest distance between the two, in [0, 1]; below it the picture is refused.

    """

    low_percentile: float = 0.5
    high_percentile: float = 99.5
    minimum_spread: float = 0.02

    def __post_init__(self) -> None:
        if not 0.0 <= self.low_percentile < self.high_percentile <= 100.0:
            raise ValueError("percentiles rise within [0, 100]")
        if not 0.0 < self.minimum_spread < 1.0:
            raise ValueError("minimum_spread lies in (0, 1)")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From pixels in [0, 1] to the encoder's input; a value, so that it can be hashed.

    In this order: trim uniform borders; resize in proportion, antialiased; stretch the contrast
    between two percentiles; pad to a square with black; subtract `mean` and divide by `std` per
    channel.

    Attributes
    ----------
    size_px
        Side of the square that the encoder takes.
    mean, std
        One value per channel, on the scale [0, 1]; one or three channels, all from one grey plane.
    border, contrast
        The rules of the first two steps.

    """

    size_px: int = 224
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    border: BorderRule = field(default_factory=BorderRule)
    contrast: ContrastRule = field(default_factory=ContrastRule)

    def __post_init__(self) -> None:
        if self.size_px < MINIMUM_SIDE_PX:
            raise ValueError(f"size_px is at least {MINIMUM_SIDE_PX}")
        if len(self.mean) != len(self.std) or len(self.mean) not in {1, 3}:
            raise ValueError("mean and std hold one or three channels")
        if not all(value > 0.0 for value in self.std):
            raise ValueError("std is positive")

    def __call__(self, pixels: Float32Array) -> Float32Array:
        """Turn one radiograph into the encoder's input.

        Parameters
        ----------
        pixels
            Shape ``(rows, columns)``, float32 in [0, 1], air dark.

        Returns
        -------
        numpy.ndarray
            Shape ``(n_channels, size_px, size_px)``, float32.

        Raises
        ------
        CdsError
            IMAGE_UNREADABLE if the picture is too small, constant, not finite, or not
            two-dimensional.

        """
        return self.normalise(self.grey_square(pixels))

    def grey_square(self, pixels: Float32Array) -> Float32Array:
        """Do all steps but the last: trimmed, resized, stretched, padded.

        Training stores this form, augments it, and goes on with `normalise`.

        Parameters
        ----------
        pixels
            Shape ``(rows, columns)``, float32 in [0, 1], air dark.

        Returns
        -------
        numpy.ndarray
            Shape ``(size_px, size_px)``, float32 in [0, 1].

        Raises
        ------
        CdsError
            IMAGE_UNREADABLE, as for the call.

        """
        refuse_unusable(pixels)
        sample, step = _thinned(pixels)
        kept_rows, kept_columns, (low, high) = self._content(sample)
        inner = sample[kept_rows, kept_columns]
        if inner.shape != sample.shape:
            low, high = _grey_limits(inner, self.contrast)
        content = pixels[_scaled(kept_rows, step), _scaled(kept_columns, step)]
        stretched = _stretched(_resized_to_fit(content, self.size_px), low, high)
        return _padded_to_square(stretched, self.size_px)

    def geometry(self, pixels: Float32Array) -> PictureGeometry:
        """Return where `grey_square` puts the picture, so that a map can be laid back on it.

        Parameters
        ----------
        pixels
            Shape ``(rows, columns)``, float32 in [0, 1], air dark.

        Returns
        -------
        PictureGeometry
            Of this very picture.

        Raises
        ------
        CdsError
            IMAGE_UNREADABLE, as for the call.

        """
        refuse_unusable(pixels)
        sample, step = _thinned(pixels)
        rows, columns = (_scaled(kept, step) for kept in self._content(sample)[:2])
        shape = (pixels.shape[0], pixels.shape[1])
        kept_rows, kept_columns = (
            slice(*s.indices(n)) for s, n in zip((rows, columns), shape, strict=True)
        )
        size = _fitted_size(
            (kept_rows.stop - kept_rows.start, kept_columns.stop - kept_columns.start), self.size_px
        )
        return PictureGeometry(shape, kept_rows, kept_columns, size, self.size_px)

    def _content(self, sample: Float32Array) -> tuple[slice, slice, tuple[np.float32, np.float32]]:
        """Return rows and columns inside the borders, and the grey limits of the whole sample."""
        low, high = _grey_limits(sample, self.contrast)
        rows, columns = content_bounds(_stretched(sample, low, high), self.border)
        return rows, columns, (low, high)

    def normalise(self, grey: Float32Array) -> Float32Array:
        """Stack the grey plane to the encoder's channels and normalise each.

        Parameters
        ----------
        grey
            Shape ``(size_px, size_px)``, float32 in [0, 1].

        Returns
        -------
        numpy.ndarray
            Shape ``(n_channels, size_px, size_px)``, float32.

        """
        return normalised(grey, self.mean, self.std)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON: equal hash, equal result."""
        return canonical_hash(self.to_config())

    def to_config(self) -> dict[str, Any]:
        """Write as a Hugging Face ``preprocessor_config.json`` with our steps in one block."""
        return {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": self.size_px, "width": self.size_px},
            "resample": _BILINEAR,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
            "precedent": {
                "algorithm_version": ALGORITHM_VERSION,
                "trim_borders": {
                    "tolerance": self.border.tolerance,
                    "max_fraction": self.border.max_fraction,
                },
                "contrast": {
                    "low_percentile": self.contrast.low_percentile,
                    "high_percentile": self.contrast.high_percentile,
                    "minimum_spread": self.contrast.minimum_spread,
                },
                "pad_to_square": True,
            },
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read what `to_config` wrote.

        Parameters
        ----------
        config
            The parsed ``preprocessor_config.json``.

        Returns
        -------
        Preprocessing
            Writing it again gives the same configuration.

        Raises
        ------
        CdsError
            MODEL_UNAVAILABLE if a key is missing, a value is illegal, or the file asks for a step
            or a version of the arithmetic that this program does not have.

        """
        try:
            ours = config["precedent"]
            preprocessing = cls(
                size_px=int(config["size"]["height"]),
                mean=tuple(float(value) for value in config["image_mean"]),
                std=tuple(float(value) for value in config["image_std"]),
                border=BorderRule(**ours["trim_borders"]),
                contrast=ContrastRule(**ours["contrast"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CdsError(
                Reason.MODEL_UNAVAILABLE, "The image model's preprocessing cannot be read."
            ) from error
        if preprocessing.to_config() != dict(config):
            raise CdsError(
                Reason.MODEL_UNAVAILABLE,
                "The image model asks for a preprocessing that this version does not have.",
            )
        return preprocessing

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a ``preprocessor_config.json``.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        Preprocessing
            What the file says.

        Raises
        ------
        CdsError
            MODEL_UNAVAILABLE if the file is missing, not JSON, or not ours.

        """
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CdsError(
                Reason.MODEL_UNAVAILABLE, "The image model's preprocessing cannot be read."
            ) from error
        return cls.from_config(config)


def normalised(grey: Float32Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Float32Array:
    """Stack a grey plane ``(h, w)`` to channels, normalised: ``(len(mean), h, w)``, float32."""
    means = np.asarray(mean, dtype=np.float32)[:, None, None]
    deviations = np.asarray(std, dtype=np.float32)[:, None, None]
    return ((grey[None, :, :] - means) / deviations).astype(np.float32)


def canonical_hash(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of JSON values, whatever the order of their keys."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def refuse_unusable(pixels: Float32Array) -> None:
    """Refuse what is not a picture of a usable size.

    Raises
    ------
    CdsError
        IMAGE_UNREADABLE if it is too small, not two-dimensional or not finite.

    """
    if pixels.ndim != 2 or min(pixels.shape) < MINIMUM_SIDE_PX:
        raise CdsError(
            Reason.IMAGE_UNREADABLE,
            f"The picture is smaller than {MINIMUM_SIDE_PX} x {MINIMUM_SIDE_PX} pixels.",
        )
    if not np.isfinite(pixels).all():
        raise CdsError(Reason.IMAGE_UNREADABLE, "The picture holds values that are not numbers.")


def _thinned(pixels: Float32Array) -> tuple[Float32Array, int]:
    """Take every n-th row and column, so that estimates cost the same for any picture."""
    step = max(1, math.ceil(max(pixels.shape) / _ESTIMATION_SIDE_PX))
    step = min(step, min(pixels.shape) // MINIMUM_SIDE_PX)
    return pixels[::step, ::step], step


def _scaled(bounds: slice, step: int) -> slice:
    """Carry 0-based bounds of the thinned picture over to the whole one."""
    return slice(bounds.start * step, bounds.stop * step)


def _grey_limits(pixels: Float32Array, rule: ContrastRule) -> tuple[np.float32, np.float32]:
    """Return the grey values that become black and white."""
    low, high = outer_percentiles(pixels, rule.low_percentile, rule.high_percentile)
    if high - low < rule.minimum_spread:
        raise CdsError(Reason.IMAGE_UNREADABLE, BLANK)
    return np.float32(low), np.float32(high)


def _stretched(pixels: Float32Array, low: np.float32, high: np.float32) -> Float32Array:
    """Map the two limits to 0 and 1 and clip what lies outside."""
    stretched: Float32Array = np.clip((pixels - low) / (high - low), 0.0, 1.0)
    return stretched


def _resized_to_fit(content: Float32Array, side_px: int) -> Float32Array:
    """Resize, antialiased and in proportion, so that the longer side fills the square."""
    rows, columns = _fitted_size(content.shape, side_px)
    resized = Image.fromarray(content).resize((columns, rows), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32)


def _fitted_size(shape: tuple[int, ...], side_px: int) -> tuple[int, int]:
    """Return rows and columns in proportion, the longer side filling the square."""
    rows, columns = shape
    longest = max(rows, columns)
    return max(1, round(rows * side_px / longest)), max(1, round(columns * side_px / longest))


def _padded_to_square(pixels: Float32Array, side_px: int) -> Float32Array:
    """Centre the picture on a black square."""
    rows, columns = pixels.shape
    square = np.zeros((side_px, side_px), dtype=np.float32)
    top, left = (side_px - rows) // 2, (side_px - columns) // 2
    square[top : top + rows, left : left + columns] = pixels
    return square
