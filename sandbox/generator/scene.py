"""The scene before exposure: all that one film's rays meet, and what was put there on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sandbox.generator.anatomy import Habitus, Posture, SoftParts, refined, soft_parts
from sandbox.generator.parameters import thorax
from sandbox.generator.projection import (
    FloatMap,
    Plane,
    blur,
    ellipse_inside,
    half_chord,
    resize,
    smooth_step,
)
from sandbox.generator.skeleton import bones
from sandbox.generator.vessels import airways, hilum, markings


@dataclass(frozen=True, slots=True)
class SignRecord:
    """A sign at its recorded position.

    Attributes
    ----------
    sign
        For example ``consolidation``.
    place_code
        SNOMED CT code of the place, or empty where no single place fits.
    side
        ``right``, ``left`` or ``both``: the patient's sides.
    box_px
        (first column, first row, last column, last row), inclusive.

    """

    sign: str
    place_code: str
    side: str
    box_px: tuple[int, int, int, int]


@dataclass(slots=True)
class Scene:
    """Path lengths that signs may change, each of shape (rows, columns).

    Attributes
    ----------
    fill
        Share of the lung's air that fluid or cells replace, 0 to 1.
    bare
        1 where there is air outside the lung (pneumothorax, bulla): no markings, no tissue.
    vessels, extra
        mm of soft tissue in the lung (hidden where it is filled), and anywhere.
    air, bone, metal
        mm of air in place of soft tissue, of bone, of metal or contrast-dense plastic.

    """

    plane: Plane
    habitus: Habitus
    posture: Posture
    parts: SoftParts
    bone: FloatMap
    vessels: FloatMap
    air: FloatMap
    fill: FloatMap
    bare: FloatMap
    extra: FloatMap
    metal: FloatMap
    lung_density: float = 1.0
    signs: list[SignRecord] = field(default_factory=list)

    def add_fill(self, share: FloatMap) -> None:
        """Fill a share of the air that is still there."""
        self.fill = 1 - (1 - self.fill) * (1 - np.clip(share, 0, 0.97))

    def record(self, sign: str, place_code: str, side: str, where: FloatMap) -> None:
        """Record a sign with the box that holds `where` above a tenth of its maximum."""
        peak = float(where.max())
        if peak <= 0:
            return
        rows, columns = np.nonzero(where > 0.1 * peak)
        box = (int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max()))
        self.signs.append(SignRecord(sign, place_code, side, box))

    def line_integral(self) -> FloatMap:
        """Return the attenuation along each ray."""
        p = thorax("physics")
        lung = self.parts.lung
        aerated = lung * (1 - self.fill) * (1 - self.bare)
        tissue = self.parts.body - lung + lung * self.fill * (1 - self.bare)
        tissue += self.vessels * (1 - self.fill) * (1 - self.bare) + self.extra - self.air
        total = p["soft_per_mm"] * np.maximum(tissue, 0)
        total += p["lung_per_mm"] * self.lung_density * aerated
        total += p["bone_excess_per_mm"] * self.bone + p["metal_per_mm"] * self.metal
        return np.asarray(total, dtype=np.float32)


def _hilar_shadows(parts: SoftParts, habitus: Habitus, posture: Posture) -> FloatMap:
    """Return the great pulmonary arteries at both hila, mm."""
    total = np.zeros(parts.x.shape, dtype=np.float32)
    for side in (-1, 1):
        x, y = hilum(side, habitus, posture)
        pieces = (
            ((x + side * 4, y + 22), (7.5, 30), -16.0 * side),
            ((x - side * 5, y - 4), (13, 12), 0.0),
            ((x + side * 1, y - 16), (6, 15), 28.0 * side),
        )
        for centre, axes, tilt in pieces:
            inside = ellipse_inside(parts.x, parts.y, centre, axes, tilt)
            total = np.maximum(total, half_chord(inside, 19.0))
    return blur(total, 0.8)


def _surface(
    parts: SoftParts, habitus: Habitus, posture: Posture, rng: np.random.Generator
) -> FloatMap:
    """Return breasts or chest muscle, and stomach gas as negative tissue."""
    p = thorax("body")
    h, w = habitus.height, habitus.width
    total = np.zeros(parts.x.shape, dtype=np.float32)
    flat = 0.6 if posture.view == "AP" else 1.0  # lying or leaning back spreads the breasts
    for side in (-1, 1):
        if habitus.breast > 0:
            size = 0.75 + 0.35 * habitus.breast
            centre = (side * 74.0 * w, (44.0 + 14.0 * habitus.breast) * h)
            inside = ellipse_inside(parts.x, parts.y, centre, (60 * size, 52 * size), 12.0 * side)
            sharpness = 1.3 - 0.75 * smooth_step(parts.y, centre[1] - 25.0, centre[1] + 35.0)
            under = np.maximum(inside, 0) ** sharpness
            total += p["breast_thickness_mm"] * habitus.breast * flat * under
        else:
            edge = parts.y - (-34.0 * h + 0.85 * (90.0 * w - side * parts.x))
            fold = smooth_step(-edge, 0.0, 22.0) * smooth_step(side * parts.x, 30.0, 95.0)
            total += p["pectoral_mm"] * habitus.wall**0.5 * fold
    bubble_x, size = 62.0 * w + rng.normal(0, 8), float(np.clip(rng.normal(0.75, 0.3), 0.0, 1.3))
    column = int(np.argmin(np.abs(parts.x[parts.x.shape[0] // 2] - bubble_x)))
    bubble_y = float(np.median(parts.dome_y[:, column])) + 9.0 + 15.0 * size
    gas = ellipse_inside(
        parts.x, parts.y, (bubble_x, bubble_y), (29 * size + 1, 15 * size + 1), -8.0
    )
    total -= np.where(parts.y > parts.dome_y + 5.0, blur(half_chord(gas, 30.0 * size), 0.7), 0)
    for _ in range(int(rng.integers(2, 7))):
        centre = (float(rng.uniform(20, 120)) * w, bubble_y + float(rng.uniform(28, 70)))
        loop = ellipse_inside(
            parts.x, parts.y, centre, tuple(rng.uniform(9, 22, 2)), float(rng.uniform(-50, 50))
        )
        total -= blur(half_chord(loop, 13.0), 0.7)
    return np.asarray(total, dtype=np.float32)


def build_scene(
    plane: Plane,
    habitus: Habitus,
    posture: Posture,
    rng: np.random.Generator,
    *,
    upper_gain: float = 1.0,
    vessel_gain: float = 1.0,
) -> Scene:
    """Build a healthy thorax, ready for signs and devices.

    Parameters
    ----------
    plane, habitus, posture
        Detector, patient, film.
    rng
        Draws what differs between two films of one patient (gas).
    upper_gain, vessel_gain
        See `markings`.

    Returns
    -------
    Scene
        Nothing pathological in it yet.

    """
    x, y = plane.grid()
    coarse = soft_parts(*plane.halved().grid(), habitus, posture)
    parts = refined(coarse, x, y)
    vessels = markings(plane, parts, habitus, posture, upper_gain=upper_gain, gain=vessel_gain)
    within = smooth_step(parts.lung, 4.0, 30.0)
    vessels += resize(_hilar_shadows(coarse, habitus, posture), *x.shape) * within
    shape = x.shape
    return Scene(
        plane=plane,
        habitus=habitus,
        posture=posture,
        parts=parts,
        bone=bones(plane, parts, habitus, posture),
        vessels=vessels.astype(np.float32),
        air=resize(airways(coarse, habitus, posture), *x.shape),
        fill=np.zeros(shape, dtype=np.float32),
        bare=np.zeros(shape, dtype=np.float32),
        extra=resize(_surface(coarse, habitus, posture, rng), *x.shape),
        metal=np.zeros(shape, dtype=np.float32),
    )
