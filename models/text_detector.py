"""Burned-in text on pixels: a text detection network on the parts that may hold writing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cds.domain.text_box import TextBox
from models.detector_manifest import read_detector_manifest
from models.runtime import open_session
from models.text_candidates import Crop, GreyPicture, candidate_crops, connected_parts

if TYPE_CHECKING:
    import onnxruntime

Float32Array = NDArray[np.float32]

SHIPPED_DETECTOR = Path(__file__).resolve().parent / "detectors" / "pp-ocrv4-text"

MAP_THRESHOLD = 0.3  # of the probability map, as the network's authors set it
BOX_PROBABILITY = 0.5  # mean inside a box; theirs is 0.6, and a missed name is worse than a box
GROWTH = 1.5  # how far a box is grown back, as the network's authors set it
MAX_HEIGHT_SHARE = 0.14  # of the long side: what is taller is a rib cage, not a line of writing
MIN_SIDE_PX = 4
POOL_PX = 2
SMALL_PX = 30_000  # pixels of a part that is looked at enlarged
STRIDE_PX = 32  # the network wants multiples
WHITE_8_BIT = 255.0


class OnnxTextDetector:
    """PP-OCRv4's text detection, opened; implements `cds.ports.TextDetector`.

    It finds where writing is and does not read it.
    """

    def __init__(self, session: onnxruntime.InferenceSession, *, version: str) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._version = version

    @classmethod
    def shipped(cls, folder: Path = SHIPPED_DETECTOR) -> Self:
        """Verify the network against its manifest and open it.

        Raises
        ------
        CdsError
            MODEL_UNAVAILABLE if a file is missing or differs from its checksum.

        """
        manifest, model = read_detector_manifest(folder)
        return cls(open_session(model), version=f"{manifest.name} {manifest.model_sha256[:12]}")

    @property
    def version(self) -> str:
        """Return name and checksum of the network, for the record of an import."""
        return self._version

    def text_boxes(self, grey: GreyPicture) -> tuple[TextBox, ...]:
        """Return what looks like writing.

        Parameters
        ----------
        grey
            Shape ``(rows, columns)``, uint8, as the library keeps the picture.

        Returns
        -------
        tuple of TextBox
            In pixels of `grey`; empty without reaching the network where no edges are dense.

        """
        return tuple(box for crop in candidate_crops(grey) for box in self._boxes_in(grey, crop))

    def _boxes_in(self, grey: GreyPicture, crop: Crop) -> list[TextBox]:
        part = grey[crop.top : crop.bottom, crop.left : crop.right]
        probability = self._map_of_small(part) if part.size <= SMALL_PX else self._map(part)
        long_side = max(grey.shape)
        found = []
        for box in _boxes(probability > MAP_THRESHOLD):
            mean = _mean_in(probability, box)
            whole = _grown(box, part.shape)
            height = min(whole.bottom - whole.top, whole.right - whole.left)
            if mean >= BOX_PROBABILITY and height <= MAX_HEIGHT_SHARE * long_side:
                top, left = crop.top + whole.top, crop.left + whole.left
                extent = whole.bottom - whole.top, whole.right - whole.left
                found.append(TextBox(top, left, *extent, mean))
        return found

    def _map_of_small(self, part: GreyPicture) -> Float32Array:
        """Look at a small part twice as large: letters of 10 px are small for the network."""
        rows, columns = part.shape
        image = Image.fromarray(np.ascontiguousarray(part))
        double = image.resize((2 * columns, 2 * rows), Image.Resampling.BILINEAR)
        found = self._map(np.asarray(double)).reshape(rows, 2, columns, 2)
        probability: Float32Array = found.max(axis=(1, 3))
        return probability

    def _map(self, part: GreyPicture) -> Float32Array:
        """Return the probability of writing, shape of `part`, float32 in [0, 1]."""
        rows, columns = part.shape
        padded = np.pad(part, ((0, -rows % STRIDE_PX), (0, -columns % STRIDE_PX)), mode="edge")
        scaled = padded.astype(np.float32) * np.float32(2.0 / WHITE_8_BIT) - np.float32(1.0)
        image_batch = np.broadcast_to(scaled, (1, 3, *scaled.shape))
        (found,) = self._session.run(None, {self._input: np.ascontiguousarray(image_batch)})
        probability: Float32Array = found[0, 0, :rows, :columns]
        return probability


def _mean_in(probability: Float32Array, box: Crop) -> float:
    inside = probability[box.top : box.bottom, box.left : box.right]
    return float(inside[inside > MAP_THRESHOLD].mean())


def _grown(box: Crop, shape: tuple[int, ...]) -> Crop:
    """Undo the network's shrinking of a line of writing by its area and perimeter."""
    rows, columns = box.bottom - box.top, box.right - box.left
    by = round(GROWTH * rows * columns / (2 * (rows + columns)))
    return Crop(
        max(box.top - by, 0),
        min(box.bottom + by, shape[0]),
        max(box.left - by, 0),
        min(box.right + by, shape[1]),
    )


def _boxes(mask: NDArray[np.bool_]) -> list[Crop]:
    """Return the bounding boxes of the connected parts, exact to two pixels."""
    rows, columns = mask.shape
    even = np.pad(mask, ((0, rows % POOL_PX), (0, columns % POOL_PX)))
    cells = even.reshape(even.shape[0] // POOL_PX, POOL_PX, -1, POOL_PX)
    pooled = cells.sum(axis=(1, 3)) > 0
    boxes = []
    for part in connected_parts(pooled):
        box = Crop(*(POOL_PX * edge for edge in (part.top, part.bottom, part.left, part.right)))
        if min(box.bottom - box.top, box.right - box.left) >= MIN_SIDE_PX:
            boxes.append(box)
    return boxes
