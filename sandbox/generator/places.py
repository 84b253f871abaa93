"""Places in the lung: DICOM's own codes, and where they lie in this patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sandbox.generator.projection import FloatMap
from sandbox.generator.scene import Scene
from sandbox.generator.vessels import hilum

# SNOMED CT codes as DICOM PS3.16 lists them for places in the lung
PLACE_CODES = {
    "upper": "281392002",
    "middle": "281393007",
    "lower": "281394001",
    "hilum": "46750007",
    "": "",
}


@dataclass(frozen=True, slots=True)
class SignSpec:
    """A sign to draw.

    Attributes
    ----------
    kind
        Key of `sandbox.generator.signs.DRAW`.
    side
        ``right``, ``left`` or ``both``: the patient's sides.
    place
        Key of `PLACE_CODES`.
    size
        0 small to 1 large; its meaning is the sign's own.

    """

    kind: str
    side: str = "both"
    place: str = ""
    size: float = 0.5

    @property
    def sides(self) -> tuple[int, ...]:
        """Return -1 for right and 1 for left, as x grows to the patient's left."""
        return {"right": (-1,), "left": (1,)}.get(self.side, (-1, 1))


def lung_of(scene: Scene, side: int) -> FloatMap:
    """Return the path length in one lung."""
    return scene.parts.lung_right if side < 0 else scene.parts.lung_left


def centre_of(scene: Scene, side: int, place: str) -> tuple[float, float]:
    """Return (x, y) in mm of the middle of a place."""
    h, w = scene.habitus.height, scene.habitus.width
    if place == "hilum":
        x, y = hilum(side, scene.habitus, scene.posture)
        return x + side * 8.0, y
    low = float(np.median(scene.parts.dome_y)) - 22.0
    top = -96.0 * h
    share = {"upper": 0.10, "middle": 0.47, "lower": 0.84}.get(place, 0.5)
    y = top + share * (low - top)
    spread = {"upper": 62.0, "middle": 76.0, "lower": 86.0}.get(place, 74.0)
    return side * spread * w + 0.3 * scene.posture.shift_mm, y
