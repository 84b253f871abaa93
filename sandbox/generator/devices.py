"""Tubes, lines and leads: nuisance objects that tell of the setting, not of the disease."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from sandbox.generator.projection import FloatMap, ellipse_inside
from sandbox.generator.scene import Scene

DEVICES = ("tracheal_tube", "central_line", "gastric_tube", "ecg_leads")


def _wire(
    scene: Scene, nodes: list[tuple[float, float]], radius_mm: float, *, hollow: float = 0.0
) -> FloatMap:
    """Return a smooth tube through nodes (x, y) in mm; `hollow` is the bore's share."""
    points = np.asarray(nodes, dtype=np.float64)
    knots = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    spline = CubicSpline(knots, points)
    s = np.arange(0.0, knots[-1], scene.plane.pixel_mm * 0.5)
    centre: npt.NDArray[np.float64] = spline(s)
    tangent = np.gradient(centre, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    n = max(int(4 * radius_mm / scene.plane.pixel_mm), 3)
    u = (np.arange(n) + 0.5) / n * 2 - 1
    x = centre[:, :1] - tangent[:, 1:] * radius_mm * u
    y = centre[:, 1:] + tangent[:, :1] * radius_mm * u
    bore = hollow * np.sqrt(np.maximum(1 - (u / max(hollow, 1e-6)) ** 2, 0)) if hollow else 0.0
    chord = 2 * radius_mm * (np.sqrt(1 - u * u) - bore)
    volume = np.ones((len(s), 1)) * chord * (s[1] - s[0]) * (2 * radius_mm / n)
    return scene.plane.lay(x, y, volume)


def _tracheal_tube(scene: Scene, rng: np.random.Generator) -> None:
    shift = scene.posture.shift_mm
    tip = -62.0 + float(rng.normal(0, 6))
    nodes = [
        (float(rng.normal(0, 3)), -185.0),
        (1.0, -140.0),
        (shift * 0.5, -100.0),
        (shift * 0.7 + 1, tip),
    ]
    scene.metal += 0.10 * _wire(scene, nodes, 5.0, hollow=0.72)
    scene.metal += 0.55 * _wire(scene, [(q[0] + 4.2, q[1]) for q in nodes], 0.8)


def _central_line(scene: Scene, rng: np.random.Generator) -> None:
    shift, tip = scene.posture.shift_mm, -22.0 + float(rng.normal(0, 9))
    if rng.random() < 0.6:
        nodes = [
            (-62.0, -185.0),
            (-44.0, -140.0),
            (-24.0, -100.0),
            (-20 + shift, -60.0),
            (-17 + shift, tip),
        ]
    else:
        nodes = [
            (-120.0, -112.0),
            (-75.0, -104.0),
            (-38.0, -98.0),
            (-21 + shift, -70.0),
            (-16 + shift, tip),
        ]
    scene.metal += 0.50 * _wire(scene, nodes, 1.3)


def _gastric_tube(scene: Scene, rng: np.random.Generator) -> None:
    jitter = float(rng.normal(0, 3))
    nodes = [
        (6 + jitter, -185.0),
        (3.0, -120.0),
        (5.0, -40.0),
        (9.0, 30.0),
        (14.0, 80.0),
        (42.0, 112.0),
        (66.0, 146.0),
    ]
    scene.metal += 0.34 * _wire(scene, nodes, 2.0, hollow=0.55)


def _ecg_leads(scene: Scene, rng: np.random.Generator) -> None:
    spots = [(-82.0, -88.0), (86.0, -90.0), (96.0, 66.0)]
    for x0, y0 in spots:
        x, y = x0 + float(rng.normal(0, 9)), y0 + float(rng.normal(0, 9))
        disc = ellipse_inside(scene.parts.x, scene.parts.y, (x, y), (5.2, 5.2))
        ring = ellipse_inside(scene.parts.x, scene.parts.y, (x, y), (2.4, 2.4))
        scene.metal += 2.2 * np.clip(4 * disc, 0, 1) + 4.5 * np.clip(4 * ring, 0, 1)
        sideways = float(np.sign(x))
        end = (sideways * 168.0, y + float(rng.uniform(30, 85)))
        bend = (x + sideways * float(rng.uniform(10, 25)), y + float(rng.uniform(15, 60)))
        scene.metal += 0.8 * _wire(scene, [(x, y), bend, end], 0.75)


_DRAW = {
    "tracheal_tube": _tracheal_tube,
    "central_line": _central_line,
    "gastric_tube": _gastric_tube,
    "ecg_leads": _ecg_leads,
}


def draw_device(scene: Scene, device: str, rng: np.random.Generator) -> None:
    """Draw one of `DEVICES` into the scene."""
    _DRAW[device](scene, rng)
