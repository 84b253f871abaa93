"""Signs outside the lung: air and fluid in the pleural space, air under the diaphragm."""

from __future__ import annotations

import numpy as np

from sandbox.generator.anatomy import cage_half_width
from sandbox.generator.parameters import thorax
from sandbox.generator.places import PLACE_CODES, SignSpec, lung_of
from sandbox.generator.projection import FloatMap, blur, cloud, smooth_step
from sandbox.generator.scene import Scene
from sandbox.generator.vessels import hilum


def _retracted(scene: Scene, side: int, collapse: float) -> FloatMap:
    """Return mm inside (positive) or outside the outline of a lung shrunken towards its hilum."""
    x, y = scene.parts.x, scene.parts.y
    hx, hy = hilum(side, scene.habitus, scene.posture)
    anchor_x, anchor_y = abs(hx) - 14.0, hy + 22.0
    grown_x = anchor_x + (side * x - anchor_x) / np.float32(1 - 0.82 * collapse)
    grown_y = anchor_y + (y - anchor_y) / np.float32(1 - 0.52 * collapse)
    cage, h = thorax("cage"), scene.habitus.height
    inside = cage_half_width(grown_y.astype(np.float32), scene.habitus) - grown_x
    apex, cap = cage["apex_y_mm"] * h, cage["apex_cap_mm"]
    v = np.clip((apex + cap - grown_y) / cap, 0, None)
    u = (grown_x - cage["apex_x_mm"] * scene.habitus.width) / cage["apex_radius_mm"]
    below_apex = (1 - v * np.sqrt(1 + u * u)) * cap
    return np.asarray(np.minimum(inside * (1 - collapse), below_apex), dtype=np.float32)


def draw_pneumothorax(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Draw the pleural line with nothing beyond it; size 0.1 small, 1 nearly the whole lung."""
    side = spec.sides[0]
    collapse = 0.10 + 0.62 * spec.size
    wobble = 1.2 * cloud(rng, scene.parts.x.shape, 70.0, 2)
    inside = _retracted(scene, side, collapse) + wobble
    hemithorax = smooth_step(lung_of(scene, side), 1.0, 10.0)
    outside = (1 - smooth_step(inside, -0.7, 0.7)) * hemithorax
    scene.bare = np.maximum(scene.bare, outside).astype(np.float32)
    line = np.exp(-((inside / 0.95) ** 2)) * hemithorax
    scene.extra += (4.2 * line).astype(np.float32)
    remaining = smooth_step(inside, -0.7, 0.7) * hemithorax
    scene.add_fill(remaining * np.float32(0.05 + 0.32 * spec.size**2))
    scene.record(spec.kind, PLACE_CODES[spec.place], spec.side, outside * (outside > 0.5))


def draw_effusion(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Draw fluid with a meniscus rising to the side wall, or a veil where the patient lies flat."""
    x, y = scene.parts.x, scene.parts.y
    where = np.zeros(x.shape, dtype=np.float32)
    for side in spec.sides:
        within = smooth_step(lung_of(scene, side), 0.5, 12.0)
        size = spec.size * (1.0 if side < 0 or spec.side != "both" else 0.7)
        if spec.kind == "effusion_supine":
            veil = (0.16 + 0.34 * size) * (0.45 + 0.55 * smooth_step(y, -110.0, 80.0))
            share = veil * within
        else:
            bottom = 118.0 * scene.habitus.height
            outward = np.clip(side * x / (130.0 * scene.habitus.width), 0, 1.05)
            top = bottom - 14.0 - 150.0 * size - (12.0 + 46.0 * size) * outward ** np.float32(3.0)
            share = (
                smooth_step(y - top + 1.5 * cloud(rng, x.shape, 60.0, 2), -5.0, 24.0 + 14.0 * size)
                * within
            )
        scene.add_fill((0.95 * share).astype(np.float32))
        where = np.maximum(where, np.where(share > 0.12, share, 0)).astype(np.float32)
    scene.record("effusion", PLACE_CODES["lower"], spec.side, where)


def draw_free_air(scene: Scene, spec: SignSpec, rng: np.random.Generator) -> None:
    """Draw the crescent of air between the right dome and the liver."""
    x = scene.parts.x
    depth_below = scene.parts.y - scene.parts.dome_y
    middle = -(62.0 + float(rng.normal(0, 5))) * scene.habitus.width
    reach = 38.0 + 16.0 * spec.size
    gap = (8.0 + 13.0 * spec.size) * np.maximum(1 - ((x - middle) / reach) ** 2, 0)
    lens = smooth_step(depth_below, 2.2, 3.6) * smooth_step(gap - (depth_below - 2.4), 0.0, 2.5)
    lens = np.asarray(lens * (gap > 0.6), dtype=np.float32)
    scene.air += 78.0 * blur(lens, 0.7)
    near = ((x > middle - reach) & (x < middle + reach)).astype(np.float32)
    dome = np.exp(-(((depth_below - 1.0) / 1.3) ** 2)) * blur(near, 4.0)
    scene.extra += (16.0 * dome).astype(np.float32)
    scene.record("free_air", "", "right", lens)
