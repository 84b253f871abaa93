"""The soft parts of the thorax: the patient's build, and what each ray meets of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sandbox.generator.parameters import thorax
from sandbox.generator.projection import (
    FloatMap,
    Interval,
    ellipse_inside,
    half_chord,
    length,
    length_of_union,
    overlap,
    resize,
    smooth_step,
)


@dataclass(frozen=True, slots=True)
class Habitus:
    """A patient's build: the same on every film of that patient.

    Attributes
    ----------
    width, height, depth, heart
        Factors on the average adult.
    wall
        Factor on the thickness of the chest wall (fat and muscle).
    breast
        0 (none) to about 1.4.
    anatomy_seed
        Seeds ribs and vessels, so that a second film shows the same tree.

    """

    sex: str
    age_years: int
    width: float
    height: float
    depth: float
    wall: float
    breast: float
    heart: float
    anatomy_seed: int


def draw_habitus(rng: np.random.Generator, *, sex: str, age_years: int) -> Habitus:
    """Draw a build for an adult; independent of any disease."""
    cage, body, heart = thorax("cage"), thorax("body"), thorax("heart")
    scale = cage["female_scale"] if sex == "female" else 1.0
    breast = float(np.clip(rng.normal(0.75, 0.3), 0.2, 1.4)) if sex == "female" else 0.0
    if rng.random() > body["breast_share"]:
        breast *= 0.4
    return Habitus(
        sex=sex,
        age_years=age_years,
        width=scale * float(rng.normal(1.0, cage["half_width_sd_mm"] / cage["half_width_mm"])),
        height=scale**0.5 * float(rng.normal(1.0, cage["height_sd"])),
        depth=scale * float(rng.normal(1.0, cage["half_depth_sd_mm"] / cage["half_depth_mm"])),
        wall=float(np.clip(np.exp(rng.normal(0.0, body["wall_sd"])), 0.55, 2.0)),
        breast=breast,
        heart=float(rng.normal(1.0, heart["size_sd"])),
        anatomy_seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True, slots=True)
class Posture:
    """How this one film was taken and what disease does to the outlines.

    Attributes
    ----------
    view
        ``PA`` or ``AP``.
    diaphragm_mm
        (right, left) shift of the domes; positive is lower.
    rotation_deg
        About the long axis: moves front parts against back parts.
    heart_scale
        Factor from disease; the projection's own magnification comes on top.
    shift_mm
        Mediastinal shift; positive to the patient's left.
    flatness
        0 ordinary domes, 1 flat ones.

    """

    view: str = "PA"
    diaphragm_mm: tuple[float, float] = (0.0, 0.0)
    rotation_deg: float = 0.0
    heart_scale: float = 1.0
    shift_mm: float = 0.0
    flatness: float = 0.0

    def shear(self, z_mm: float) -> float:
        """Return the sideways displacement in mm of a structure at depth z."""
        return float(np.tan(np.deg2rad(self.rotation_deg)) * z_mm)


def cage_half_width(y: FloatMap, habitus: Habitus) -> FloatMap:
    """Return the inner half width of the rib cage in mm at height y."""
    cage = thorax("cage")
    apex, widest = cage["apex_y_mm"] * habitus.height, cage["widest_y_mm"] * habitus.height
    up = np.clip((widest - y) / np.float32(widest - apex + 26.0), 0, 1)
    down = np.clip((y - widest) / np.float32(170.0), 0, 1)
    profile = (1 - up ** np.float32(2.45)) ** np.float32(0.56) - np.float32(0.22) * down**2
    return np.asarray(profile * cage["half_width_mm"] * habitus.width, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class SoftParts:
    """Path lengths of the soft parts, mm, each of shape (rows, columns).

    `dome_y` is the height of the diaphragm's top at each x; `lung_right` is the patient's
    right lung (on the picture's left).
    """

    x: FloatMap
    y: FloatMap
    body: FloatMap
    lung_right: FloatMap
    lung_left: FloatMap
    cage: FloatMap
    dome_y: FloatMap

    @property
    def lung(self) -> FloatMap:
        """Return the path length in both lungs."""
        return self.lung_right + self.lung_left


def _body(x: FloatMap, y: FloatMap, habitus: Habitus) -> FloatMap:
    p, cage = thorax("body"), thorax("cage")
    half_width = cage["half_width_mm"] * habitus.width + p["wall_side_mm"] * habitus.wall
    belly = np.float32(1.0) + np.float32(0.06 * (habitus.wall - 1.0)) * np.clip(y / 120, 0, 1.4)
    depth = cage["half_depth_mm"] * habitus.depth
    depth += (p["wall_front_mm"] + p["wall_back_mm"]) / 2 * habitus.wall
    inside = 1 - np.abs(x / (half_width * belly)) ** np.float32(2.6)
    taper = np.clip((y + 175) / 90, 0.0, 1.0)
    trunk = 2 * half_chord(np.asarray(inside, dtype=np.float32), depth) * (0.55 + 0.45 * taper)
    top = p["shoulder_y_mm"] * habitus.height + p["shoulder_slope"] * np.maximum(np.abs(x) - 50, 0)
    top += 0.0011 * np.maximum(np.abs(x) - 110, 0) ** 2
    below = np.clip((y - top) / 60, 0, 1)
    shoulder_end = np.clip((-34 * habitus.height + 0.35 * (np.abs(x) - 150) - y) / 60, 0, 1)
    shoulder = p["shoulder_depth_mm"] * habitus.wall**0.4 * np.sqrt(below) * np.sqrt(shoulder_end)
    neck_half = p["neck_half_width_mm"] * habitus.wall**0.3 * habitus.width
    neck = 2 * half_chord(1 - (x / np.float32(neck_half)) ** 2, p["neck_depth_mm"] / 2)
    trunk = trunk * np.sqrt(np.clip((y - top + 8) / 45, 0, 1))
    neck = neck * np.clip((-60 - y) / 40, 0, 1)
    return np.asarray(np.maximum(np.maximum(trunk, shoulder), neck), dtype=np.float32)


def _heart_interval(x: FloatMap, y: FloatMap, habitus: Habitus, posture: Posture) -> Interval:
    """Return the depth interval of heart and great vessels in front of the hila."""
    p = thorax("heart")
    magnified = p["ap_magnification"] if posture.view == "AP" else p["pa_magnification"]
    size = habitus.heart * posture.heart_scale * magnified
    dx = posture.shift_mm + posture.shear(p["z_mm"])
    rise = 0.45 * min(posture.diaphragm_mm)
    cx, cy = p["x_mm"] * size + dx, p["y_mm"] * habitus.height + rise
    age = np.clip((habitus.age_years - 45) / 45, 0, 1)
    wide = magnified * (1.0 + 0.12 * float(age))
    # (centre, axes, tilt, centre depth, half depth): ventricles, right atrium, pulmonary trunk,
    # arch, caval vein, core above and below
    solids = (
        (
            (cx, cy),
            (p["long_mm"] * size, p["short_mm"] * size),
            p["tilt_deg"],
            16.0,
            p["depth_mm"] * size,
        ),
        ((dx - 18 * size, cy - 6), (29 * size, 50 * size), 8.0, 12.0, 56.0 * size),
        ((dx + 20 * wide, cy - 56), (23 * wide, 44 * wide), -16.0, 16.0, 40.0),
        ((dx + 18 * wide, cy - 106), (20.5 * wide, 21 * wide), 0.0, -6.0, 44.0),
        ((dx - 13 * wide, cy - 84), (17 * wide, 92), 1.5, 12.0, 40.0),
        ((dx + 2, cy - 128), (25 * wide, 104), 0.0, 6.0, 62.0),
        ((dx + 8, cy + 48), (42 * wide, 78), 0.0, 6.0, 66.0),
    )
    low = np.full(x.shape, 1e3, dtype=np.float32)
    high = np.full(x.shape, -1e3, dtype=np.float32)
    for centre, axes, tilt, z, depth in solids:
        inside = ellipse_inside(x, y, centre, axes, tilt)
        half = half_chord(inside, depth * habitus.depth)
        hit = inside > 0
        np.minimum(low, np.float32(z) - half, out=low, where=hit)
        np.maximum(high, np.float32(z) + half, out=high, where=hit)
    return low, high


def _spine_interval(x: FloatMap, y: FloatMap, habitus: Habitus, posture: Posture) -> Interval:
    """Return the depth interval of spine, paravertebral tissue and descending aorta."""
    back = -thorax("cage")["half_depth_mm"] * habitus.depth
    spine_x = posture.shear(back + 25)
    y = y[:, y.shape[1] // 2][:, None]  # the film's tilt of a degree does not matter here
    half_width = (
        25.0 + 3.0 * np.sin(y / 31.0) * np.sin(y / 83.0) + 7.0 * np.clip((-60 - y) / 80, 0, 1)
    )
    inside = 1 - ((x - np.float32(spine_x)) / half_width) ** 2
    spine = np.asarray(back + 44 * np.sqrt(np.maximum(inside, 0)), dtype=np.float32)
    bend = 12.0 + 9.0 * np.clip((habitus.age_years - 50) / 40, 0, 1)
    aorta_x = 0.6 * posture.shift_mm + posture.shear(-40) + bend - 0.055 * (y + 50)
    aorta_inside = 1 - ((x - aorta_x) / np.float32(14.0)) ** 2
    bulge = np.sqrt(np.maximum(aorta_inside, 0)) * np.clip((y + 66) / 40, 0, 1) ** 0.5
    aorta = back + (-30.0 - back) * bulge
    top = np.maximum(spine, aorta)
    hit = (inside > 0) | (bulge > 0)
    low = np.where(hit, np.float32(back - 5), np.float32(1e3))
    return low.astype(np.float32), np.where(hit, top, np.float32(-1e3)).astype(np.float32)


def _dome(x: FloatMap, habitus: Habitus, posture: Posture) -> tuple[FloatMap, float]:
    """Return the diaphragm's height at its highest line per x, and its drop at the back."""
    p = thorax("diaphragm")
    right, left = p["right_y_mm"] * habitus.height, p["left_y_mm"] * habitus.height
    rise = p["ap_rise_mm"] if posture.view == "AP" else 0.0
    flat = posture.flatness
    leftness = smooth_step(x, -18.0, 22.0)
    top = (right + posture.diaphragm_mm[0]) * (1 - leftness) + (
        left + posture.diaphragm_mm[1]
    ) * leftness
    top = top - rise + p["flat_y_mm"] * flat
    middle = p["dome_x_mm"] * habitus.width
    outer = np.maximum(np.abs(x) - middle, 0) / (67.0 * habitus.width)
    inner = np.maximum(middle - np.abs(x), 0) / middle
    lateral = p["lateral_drop_mm"] * (1 - flat) + p["flat_lateral_drop_mm"] * flat
    drop = lateral * outer ** np.float32(2.1) + p["medial_drop_mm"] * inner**2
    return np.asarray(top + drop, dtype=np.float32), float(p["depth_drop_mm"] * (1 - 0.55 * flat))


def soft_parts(x: FloatMap, y: FloatMap, habitus: Habitus, posture: Posture) -> SoftParts:
    """Project body, lungs, heart and diaphragm along parallel rays.

    The lungs are the rib cage's inside without the union of three depth intervals: heart with great
    vessels, spine with aorta, and everything below the domes; exact per ray, not sampled in depth.

    Parameters
    ----------
    x, y
        Shape (rows, columns); mm.
    habitus, posture
        The patient and the film.

    Returns
    -------
    SoftParts
        Path lengths in mm.

    """
    cage = thorax("cage")
    half_width = cage_half_width(y, habitus)
    depth = cage["half_depth_mm"] * habitus.depth
    inside = 1 - np.abs(x / np.maximum(half_width, 1)) ** np.float32(2.15)
    apex, cap = cage["apex_y_mm"] * habitus.height, cage["apex_cap_mm"]
    v = np.clip((apex + cap - y) / np.float32(cap), 0, None)
    u = (np.abs(x) - cage["apex_x_mm"] * habitus.width) / np.float32(cage["apex_radius_mm"])
    capped = np.sqrt(np.clip(1 - v * v * (1 + u * u), 0, 1))
    half = half_chord(np.asarray(inside, dtype=np.float32), depth) * capped
    within: Interval = (-half, half)
    dome_y, back_drop = _dome(x, habitus, posture)
    dome_z, reach = thorax("diaphragm")["apex_z_mm"], depth + 12
    sunk = reach * np.sqrt(np.maximum(y - dome_y, 0) / np.float32(back_drop))
    below: Interval = (dome_z - sunk, dome_z + 1.5 * sunk)
    heart = overlap(_heart_interval(x, y, habitus, posture), within)
    spine = overlap(_spine_interval(x, y, habitus, posture), within)
    filled = length_of_union(heart, spine, overlap(below, within))
    lung = np.maximum(length(within) - filled, 0).astype(np.float32)
    right = x < posture.shift_mm * 0.5
    return SoftParts(
        x=x,
        y=y,
        body=np.maximum(_body(x, y, habitus), 1.06 * length(within)).astype(np.float32),
        lung_right=np.where(right, lung, 0).astype(np.float32),
        lung_left=np.where(right, 0, lung).astype(np.float32),
        cage=length(within),
        dome_y=dome_y,
    )


def refined(coarse: SoftParts, x: FloatMap, y: FloatMap) -> SoftParts:
    """Resample soft parts, which have no fine structure, to the film's own grid `x`, `y`."""

    def finer(values: FloatMap) -> FloatMap:
        return np.maximum(resize(values, *x.shape), 0)

    return SoftParts(
        x=x,
        y=y,
        body=finer(coarse.body),
        lung_right=finer(coarse.lung_right),
        lung_left=finer(coarse.lung_left),
        cage=finer(coarse.cage),
        dome_y=resize(coarse.dome_y, *x.shape),
    )
