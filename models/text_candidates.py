"""Where a picture has edges as dense as writing: the cheap look before the network's.

Writing that a machine burned in has strong edges of both signs close together. Lungs, ribs and
collimation edges have them rarely, so the network is run on small crops, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GreyPicture = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]

CELL_PX = 16
# Grey levels between neighbouring pixels; the second where the first finds edges everywhere, as in
# sharpened films. Measured, see docs/deidentification.md.
EDGE_STEPS = (32, 64)
MIN_EDGES = 6  # of each sign in a cell, along rows or along columns
MIN_CROSSING_EDGES = 2  # of each sign along the other axis: letters have strokes both ways
MIN_CELLS = 2  # connected: a lone letter is no writing to look for
MARGIN_PX = 16  # around a cluster: the network wants to see where the writing ends
MAX_SHARE = 0.3  # of the picture's area: more in crops than this is no list of candidates


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a picture, half open: ``grey[top:bottom, left:right]``."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def n_pixels(self) -> int:
        """Return the area."""
        return (self.bottom - self.top) * (self.right - self.left)

    def touches(self, other: Crop) -> bool:
        """Tell whether the two overlap or share an edge."""
        return (
            self.top <= other.bottom
            and other.top <= self.bottom
            and self.left <= other.right
            and other.left <= self.right
        )

    def joined(self, other: Crop) -> Crop:
        """Return the smallest crop that holds both."""
        return Crop(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )


def candidate_crops(grey: GreyPicture) -> tuple[Crop, ...]:
    """Return the parts of a picture that may hold writing; empty for many pictures.

    Parameters
    ----------
    grey
        Shape ``(rows, columns)``, uint8.

    Returns
    -------
    tuple of Crop
        Disjoint; together never more than the picture.

    """
    across, down = _steps(grey)
    for edge_step in EDGE_STEPS:
        dense = _like_letters(_edges(across, edge_step), _edges(down, edge_step))
        crops = _merged([_crop(box, grey.shape) for box in connected_parts(dense, MIN_CELLS)])
        if sum(crop.n_pixels for crop in crops) <= MAX_SHARE * grey.size:
            return tuple(crops)
    return (Crop(0, grey.shape[0], 0, grey.shape[1]),)


def _steps(grey: GreyPicture) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return the differences of neighbours, across and down, padded to whole cells."""
    padded = np.pad(grey, ((0, -grey.shape[0] % CELL_PX), (0, -grey.shape[1] % CELL_PX)), "edge")
    signed = padded.astype(np.int16)
    across, down = np.zeros_like(signed), np.zeros_like(signed)
    np.subtract(signed[:, 1:], signed[:, :-1], out=across[:, 1:])
    np.subtract(signed[1:], signed[:-1], out=down[1:])
    return across, down


def _like_letters(across: NDArray[np.int64], down: NDArray[np.int64]) -> BoolArray:
    """Return which cells have dense edges along one axis and some along the other."""
    along_rows = (across >= MIN_EDGES) & (down >= MIN_CROSSING_EDGES)
    along_columns = (down >= MIN_EDGES) & (across >= MIN_CROSSING_EDGES)
    dense: BoolArray = along_rows | along_columns
    return dense


def _edges(steps: NDArray[np.int16], edge_step: int) -> NDArray[np.int64]:
    """Return shape ``(rows / 16, columns / 16)``: edges of the rarer sign in each cell."""
    return np.minimum(_per_cell(steps > edge_step), _per_cell(steps < -edge_step))


def _per_cell(edges: BoolArray) -> NDArray[np.int64]:
    rows, columns = edges.shape
    strips = edges.view(np.uint8).reshape(rows // CELL_PX, CELL_PX, columns)
    per_strip = np.add.reduce(strips, axis=1, dtype=np.uint8)  # at most 16: fits, and is fast
    counts: NDArray[np.int64] = per_strip.reshape(rows // CELL_PX, -1, CELL_PX).sum(axis=2)
    return counts


def connected_parts(dense: BoolArray, at_least: int = 1) -> list[Crop]:
    """Return the bounding boxes of a mask's 8-connected groups of some size."""
    waiting = {(int(r), int(c)) for r, c in np.argwhere(dense)}
    boxes = []
    while waiting:
        reached = [waiting.pop()]
        members = []
        while reached:
            row, column = reached.pop()
            members.append((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & waiting
            waiting -= near
            reached.extend(near)
        if len(members) < at_least:
            continue
        rows, columns = zip(*members, strict=True)
        boxes.append(Crop(min(rows), max(rows) + 1, min(columns), max(columns) + 1))
    return boxes


def _crop(cells: Crop, shape: tuple[int, ...]) -> Crop:
    return Crop(
        max(cells.top * CELL_PX - MARGIN_PX, 0),
        min(cells.bottom * CELL_PX + MARGIN_PX, shape[0]),
        max(cells.left * CELL_PX - MARGIN_PX, 0),
        min(cells.right * CELL_PX + MARGIN_PX, shape[1]),
    )


def _merged(crops: list[Crop]) -> list[Crop]:
    """Join crops that touch until none does."""
    done: list[Crop] = []
    waiting = sorted(crops, key=lambda crop: (crop.top, crop.left))
    while waiting:
        crop = waiting.pop()
        touching = next((other for other in waiting if crop.touches(other)), None)
        if touching is None:
            done.append(crop)
        else:
            waiting[waiting.index(touching)] = crop.joined(touching)
    return sorted(done, key=lambda crop: (crop.top, crop.left))
