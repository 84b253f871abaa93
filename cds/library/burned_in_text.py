"""Writing on pixels: what may stay, and why a picture goes to quarantine (SAFETY R-HIP-2)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from cds.domain.text_box import TextBox
from cds.ports import TextDetector

GreyPicture = NDArray[np.uint8]
Float32Array = NDArray[np.float32]

TEXT_ON_PIXELS = "writing was found on the picture itself"
MAX_LETTERS = 2  # single letters that may stay: a side marker and one more
MARKER_LIKENESS = 0.85  # correlation with a known marker's bitmap
MARKER_REACH_PX = 8  # how far around the detector's box a marker is looked for


@dataclass(frozen=True, slots=True)
class WritingFound:
    """What a picture's pixels hold.

    Attributes
    ----------
    n_writing
        Boxes that look like more than a single letter.
    n_letters
        Boxes that hold no more than one letter.
    n_known_markers
        Boxes that are a known marker and nothing else.

    """

    n_writing: int = 0
    n_letters: int = 0
    n_known_markers: int = 0

    @property
    def must_be_set_apart(self) -> bool:
        """Tell whether the picture belongs in quarantine."""
        return self.n_writing > 0 or self.n_letters > MAX_LETTERS


def writing_on(grey: GreyPicture, detector: TextDetector) -> WritingFound:
    """Look for writing on a picture as the library would keep it.

    Parameters
    ----------
    grey
        Shape ``(rows, columns)``, uint8.
    detector
        Finds boxes.

    """
    n_writing = n_letters = n_known = 0
    for box in detector.text_boxes(grey):
        if _is_known_marker(grey, box):
            n_known += 1
        elif box.is_like_one_letter(max(grey.shape)):
            n_letters += 1
        else:
            n_writing += 1
    return WritingFound(n_writing, n_letters, n_known)


def _is_known_marker(grey: GreyPicture, box: TextBox) -> bool:
    """Tell whether a known marker, and nothing beside it, is what the box holds."""
    return any(_best_likeness(grey, box, marker) >= MARKER_LIKENESS for marker in _markers())


def _best_likeness(grey: GreyPicture, box: TextBox, marker: Float32Array) -> float:
    """Return the best correlation of a marker with the places where the box may hold it."""
    rows, columns = marker.shape
    reach = MARKER_REACH_PX
    if box.columns > columns + 2 * reach or box.rows > rows + 2 * reach:
        return 0.0  # there is more in the box than the marker
    top, left = max(box.row - reach, 0), max(box.column - reach, 0)
    bottom, right = box.row + box.rows + reach, box.column + box.columns + reach
    region = grey[top:bottom, left:right].astype(np.float32)
    if region.shape[0] < rows or region.shape[1] < columns:
        return 0.0
    places = np.lib.stride_tricks.sliding_window_view(region, (rows, columns))
    centred = places - places.mean(axis=(2, 3), keepdims=True)
    template = marker - marker.mean()
    products = np.tensordot(centred, template, axes=2)
    norms = np.sqrt((centred**2).sum(axis=(2, 3)) * (template**2).sum())
    best: float = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0).max()
    return float(best)


@cache
def _markers() -> tuple[Float32Array, ...]:
    """Return each known marker, shape ``(rows, columns)``, float32, 1 where it is bright."""
    table = tomllib.loads(files("cds.library").joinpath("known_markers.toml").read_text("utf-8"))
    return tuple(_drawn(marker["bitmap"], marker["scale_px"]) for marker in table["marker"])


def _drawn(bitmap: list[str], scale_px: int) -> Float32Array:
    dots = np.array([[dot == "1" for dot in row] for row in bitmap])
    return dots.repeat(scale_px, axis=0).repeat(scale_px, axis=1).astype(np.float32)
