"""Signs in the lung's air space: each draws into the scene and records where it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sandbox.generator.places import PLACE_CODES, SignSpec, centre_of, lung_of
from sandbox.generator.pleura import draw_effusion, draw_free_air, draw_pneumothorax
from sandbox.generator.projection import (
    FloatMap,
    blur,
    cloud,
    ellipse_form,
    ellipse_inside,
    half_chord,
    smooth_step,
)
from sandbox.generator.scene import Scene
from sandbox.generator.vessels import Branches, grow, hilum, lay_tree

Draw = Callable[[Scene, SignSpec, np.random.Generator], None]


def _patch(
    scene: Scene, centre: tuple[float, float], axes: tuple[float, float], edge: FloatMap
) -> FloatMap:
    """Return a soft-edged patch of 0 to 1 whose outline follows the random field `edge`."""
    inside = ellipse_form(scene.parts.x, scene.parts.y, centre, axes)
    return smooth_step(inside + np.float32(0.28) * edge, -0.45, 0.75)


def _within(scene: Scene, side: int) -> FloatMap:
    return smooth_step(lung_of(scene, side), 4.0, 22.0)


def _bronchi(
    scene: Scene, side: int, towards: tuple[float, float], rng: np.random.Generator
) -> FloatMap:
    """Return air-filled bronchi that run from the hilum into an opacity, mm of air."""
    x, y = hilum(side, scene.habitus, scene.posture)
    angle = (
        np.arctan2(towards[1] - y, towards[0] - x)
        + rng.normal(0, 0.12, 3)
        + np.array([-0.38, 0, 0.38])
    )
    trunks = Branches(
        start=np.tile([x, y], (3, 1)).astype(float),
        angle=angle,
        length_mm=np.full(3, 0.45 * np.hypot(towards[0] - x, towards[1] - y) + 10.0),
        radius_mm=np.full(3, 3.2),
        bend=rng.normal(0, 0.15, 3),
    )
    return lay_tree(scene.plane, grow(rng, trunks, 4))


def draw_consolidation(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Draw a homogeneous opacity with air bronchograms in one zone."""
    grain = cloud(rng, scene.parts.x.shape, 60.0)
    for side in spec.sides:
        centre = centre_of(scene, side, spec.place)
        size = 0.72 + 0.55 * spec.size
        patch = _patch(scene, centre, (58.0 * size, 46.0 * size), grain) * _within(scene, side)
        scene.add_fill(
            patch * (0.62 + 0.25 * spec.size) * (1 + 0.07 * cloud(rng, patch.shape, 14.0))
        )
        air = _bronchi(scene, side, centre, rng)
        scene.air += (air * 1.4 * smooth_step(patch, 0.35, 0.85)).astype(np.float32)
        scene.record("consolidation", PLACE_CODES[spec.place], spec.side, patch * (patch > 0.25))


def draw_cavity(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Draw a patchy opacity with a thick-walled cavity of 2 to 4 cm in it."""
    x, y = scene.parts.x, scene.parts.y
    for side in spec.sides:
        cx, cy = centre_of(scene, side, spec.place)
        centre = (cx + float(rng.normal(0, 7)), cy + float(rng.normal(0, 8)))
        grain = cloud(rng, x.shape, 40.0, 4)
        patch = _patch(scene, centre, (44.0, 38.0), 1.8 * grain) * _within(scene, side)
        uneven = np.float32(0.14) * np.tanh(cloud(rng, x.shape, 17.0, 3))
        scene.add_fill(patch * (np.float32(0.26) + uneven))
        radius = 10.0 + 9.0 * spec.size
        wobble = 1 + 0.12 * np.clip(cloud(rng, x.shape, 45.0, 2), -2, 2)
        ring = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2) * wobble
        wall = 4.5 + 2.0 * spec.size
        outer = 2 * np.sqrt(np.maximum((radius + wall) ** 2 - ring**2, 0))
        inner = 2 * np.sqrt(np.maximum(radius**2 - ring**2, 0))
        scene.add_fill(blur((outer - inner).astype(np.float32) / 52.0, 1.9) * _within(scene, side))
        hole = blur((inner / (2 * radius)).astype(np.float32), 0.9) * _within(scene, side)
        scene.fill *= 1 - 0.75 * np.clip(hole, 0, 1)
        scene.vessels *= 1 - 0.85 * np.clip(hole, 0, 1)
        box = np.where(ring < radius + wall, _within(scene, side), 0).astype(np.float32)
        scene.record("cavity", PLACE_CODES[spec.place], spec.side, box)


def _spicules(
    scene: Scene, centre: tuple[float, float], radius: float, rng: np.random.Generator
) -> FloatMap:
    n = int(rng.integers(16, 26))
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False) + rng.normal(0, 0.12, n)
    start = np.stack(
        [centre[0] + 0.8 * radius * np.cos(angle), centre[1] + 0.8 * radius * np.sin(angle)], axis=1
    )
    length = radius * rng.uniform(0.35, 1.0, n)
    rays = Branches(start, angle, length, np.full(n, 1.15), rng.normal(0, 0.12, n))
    return 1.6 * lay_tree(scene.plane, [rays])


def draw_mass(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Draw a spiculated mass of 3 to 7 cm, or below size 0.2 a nodule of 1 to 3 cm."""
    x, y = scene.parts.x, scene.parts.y
    for side in spec.sides:
        cx, cy = centre_of(scene, side, spec.place)
        centre = (cx + float(rng.normal(0, 6)), cy + float(rng.normal(0, 7)))
        is_nodule = spec.size < 0.2
        radius = 6.0 + 45.0 * spec.size if is_nodule else 13.0 + 21.0 * spec.size
        lobes = 1 + 0.10 * np.clip(cloud(rng, x.shape, 38.0, 3), -2, 2)
        ring = np.sqrt((x - centre[0]) ** 2 + ((y - centre[1]) * 1.08) ** 2) * lobes
        ball = 2 * np.sqrt(np.maximum(radius**2 - ring**2, 0)).astype(np.float32)
        tissue = np.minimum(
            blur(ball, 1.0) + _spicules(scene, centre, radius, rng), 0.9 * scene.parts.cage
        )
        scene.extra += tissue * 1.05 * np.maximum(_within(scene, side), 0.25)
        where = np.where(ring < radius, 1.0, 0.0).astype(np.float32) * (lung_of(scene, side) > 0)
        scene.record("nodule" if is_nodule else "mass", PLACE_CODES[spec.place], spec.side, where)


def draw_small_nodule(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Draw one smooth nodule of at most 8 mm."""
    x, y = scene.parts.x, scene.parts.y
    side = spec.sides[0]
    cx, cy = centre_of(scene, side, spec.place)
    centre = (cx + float(rng.normal(0, 10)), cy + float(rng.normal(0, 10)))
    radius = 2.6 + 1.4 * spec.size
    ball = half_chord(ellipse_inside(x, y, centre, (radius, radius)), 2 * radius)
    scene.extra += 2.2 * ball * _within(scene, side)
    scene.record(
        "small_nodule", PLACE_CODES[spec.place], spec.side, ball * (lung_of(scene, side) > 0)
    )


def draw_hila(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Draw symmetrical lobulated hila and a widened right paratracheal stripe."""
    x, y = scene.parts.x, scene.parts.y
    size = 0.85 + 0.4 * spec.size
    total = np.zeros(x.shape, dtype=np.float32)
    for side in (-1, 1):
        hx, hy = hilum(side, scene.habitus, scene.posture)
        for dx, dy, r in ((9, -14, 13), (18, 3, 15), (12, 21, 13), (2, 2, 15)):
            lobe = (hx + side * (dx + float(rng.normal(0, 1.5))), hy + dy + float(rng.normal(0, 2)))
            inside = ellipse_inside(x, y, lobe, (r * size, 1.1 * r * size))
            total = np.maximum(total, half_chord(inside, 2.3 * r * size))
    stripe = ellipse_inside(x, y, (-25.0 + scene.posture.shear(0.0), -72.0), (11 * size, 31), -4.0)
    tissue = blur(np.maximum(total, half_chord(stripe, 34.0)), 1.0)
    scene.extra += tissue
    scene.record("bilateral_hila", PLACE_CODES["hilum"], "both", total)


def draw_nodules(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Draw many small ill-defined nodules in the middle and upper zones."""
    n = int(60 + 90 * spec.size)
    total = np.zeros(scene.parts.x.shape, dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi, n)
    start = np.stack([rng.uniform(-112, 112, n), rng.normal(-35, 38, n)], axis=1)
    dots = Branches(start, angle, np.full(n, 3.6), rng.uniform(1.4, 2.4, n), np.zeros(n))
    total = blur(lay_tree(scene.plane, [dots]), 0.9) * smooth_step(scene.parts.lung, 8.0, 40.0)
    scene.extra += 2.2 * total
    scene.record("nodules", PLACE_CODES["middle"], "both", total)


def draw_batwing(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Draw perihilar haze that spares periphery and apices: oedema, or a finer ground glass."""
    x, y = scene.parts.x, scene.parts.y
    fine = spec.kind == "perihilar_ground_glass"
    reach = 62.0 + 22.0 * spec.size
    where = np.zeros(x.shape, dtype=np.float32)
    grain = cloud(rng, x.shape, 34.0, 3)
    for side in (-1, 1):
        hx, hy = hilum(side, scene.habitus, scene.posture)
        inside = ellipse_form(x, y, (hx + side * 16.0, hy + 14.0), (0.72 * reach, reach))
        where = np.maximum(
            where, smooth_step(inside + 0.28 * grain, -0.35, 0.95) * _within(scene, side)
        )
    level = (0.17 + 0.20 * spec.size) if fine else (0.24 + 0.30 * spec.size)
    mottle = 1 + (0.10 if fine else 0.15) * cloud(rng, x.shape, 9.0, 3)
    scene.add_fill(where * level * np.clip(mottle, 0.3, 1.9))
    scene.record(
        "perihilar_ground_glass" if fine else "perihilar_haze", PLACE_CODES["hilum"], "both", where
    )


def draw_septal_lines(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Draw short horizontal lines at both bases that reach the pleura."""
    n = 22
    side = np.repeat([-1.0, 1.0], n // 2)
    y = rng.uniform(18, 86, n)
    edge = 128.0 * scene.habitus.width - 0.0012 * (y - 50) ** 2
    start = np.stack([side * edge, y], axis=1)
    angle = np.where(side < 0, 0.0, np.pi) + rng.normal(0, 0.09, n)
    lines = Branches(start, angle, rng.uniform(13, 24, n), np.full(n, 0.75), np.zeros(n))
    total = lay_tree(scene.plane, [lines]) * smooth_step(scene.parts.lung, 3.0, 20.0)
    scene.extra += (2.4 + spec.size) * total
    scene.record("septal_lines", PLACE_CODES["lower"], "both", total)


def draw_diffuse(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Draw diffuse opacity of both lungs with air bronchograms."""
    x, y = scene.parts.x, scene.parts.y
    where = np.zeros(x.shape, dtype=np.float32)
    field = cloud(rng, x.shape, 85.0, 4)
    low = smooth_step(y, -120.0, 90.0)
    for side in (-1, 1):
        density = np.clip(0.34 + 0.22 * spec.size + 0.16 * low + 0.09 * field, 0.10, 0.86)
        scene.add_fill(density * _within(scene, side))
        where = np.maximum(where, density * _within(scene, side))
        air = _bronchi(scene, side, centre_of(scene, side, "lower"), rng)
        air += _bronchi(scene, side, centre_of(scene, side, "upper"), rng)
        scene.air += (0.9 * air * smooth_step(density, 0.4, 0.75) * _within(scene, side)).astype(
            np.float32
        )
    scene.record("diffuse_opacity", "", "both", where)


def draw_peripheral(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Draw patchy ground glass along the outer lower lungs, both sides."""
    x = scene.parts.x
    total = np.zeros(x.shape, dtype=np.float32)
    w = scene.habitus.width
    grain = 1.1 * cloud(rng, x.shape, 30.0, 3)
    for side in (-1, 1):
        for _ in range(int(3 + 4 * spec.size + rng.integers(0, 2))):
            at = float(np.clip(rng.normal(38, 34), -70, 82))
            centre = (side * float(rng.normal(103, 9)) * w, at)
            axes = (float(rng.uniform(14, 27)), float(rng.uniform(16, 32)))
            total = np.maximum(total, _patch(scene, centre, axes, grain))
    total *= smooth_step(scene.parts.lung, 4.0, 22.0)
    level = (0.24 + 0.24 * spec.size) * np.clip(1 + 0.25 * cloud(rng, x.shape, 13.0, 2), 0.4, 1.6)
    scene.add_fill(total * level)
    scene.record("peripheral_ground_glass", PLACE_CODES["lower"], "both", total)


def draw_hyperinflation(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Thin the lung and draw bullae; flat domes and the narrow heart belong to the posture."""
    scene.lung_density = 0.84 - 0.16 * spec.size
    x, y = scene.parts.x, scene.parts.y
    for _ in range(int(rng.integers(0, 4))):
        side = int(rng.choice([-1, 1]))
        cx, cy = centre_of(scene, side, "upper")
        centre = (cx + float(rng.normal(0, 18)), cy + float(rng.normal(4, 20)))
        radius = float(rng.uniform(10, 21))
        inside = ellipse_inside(x, y, centre, (radius, radius * 1.15))
        bulla = smooth_step(inside, 0.0, 0.35) * _within(scene, side)
        scene.bare = np.maximum(scene.bare, 0.30 * bulla).astype(np.float32)
        scene.extra += 1.2 * np.exp(-((inside / 0.06) ** 2)) * _within(scene, side)
        scene.record("bulla", PLACE_CODES["upper"], "right" if side < 0 else "left", bulla)
    scene.record("hyperinflation", "", "both", smooth_step(scene.parts.lung, 4.0, 22.0))


DRAW: dict[str, Draw] = {
    "consolidation": draw_consolidation,
    "cavity": draw_cavity,
    "mass": draw_mass,
    "small_nodule": draw_small_nodule,
    "bilateral_hila": draw_hila,
    "nodules": draw_nodules,
    "perihilar_haze": draw_batwing,
    "perihilar_ground_glass": draw_batwing,
    "septal_lines": draw_septal_lines,
    "diffuse_opacity": draw_diffuse,
    "peripheral_ground_glass": draw_peripheral,
    "hyperinflation": draw_hyperinflation,
    "pneumothorax": draw_pneumothorax,
    "tension_pneumothorax": draw_pneumothorax,
    "effusion": draw_effusion,
    "effusion_supine": draw_effusion,
    "free_air": draw_free_air,
}
