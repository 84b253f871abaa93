"""Ribs, clavicles, spine and shoulder blades as path lengths of bone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from sandbox.generator.anatomy import Habitus, Posture, SoftParts, cage_half_width
from sandbox.generator.parameters import thorax
from sandbox.generator.projection import FloatMap, Plane, blur, ellipse_inside

_N_RIBS = 11
Curve = npt.NDArray[np.float64]


def _flat_tube(
    path: Curve, half_height: npt.ArrayLike, thickness_mm: float, shell: float
) -> tuple[Curve, Curve, Curve]:
    """Return points (x, y) and volumes of a flat hollow bone along a curve of shape (n, 3)."""
    step = np.gradient(path, axis=0)
    ds = np.linalg.norm(step, axis=1)
    u = (np.arange(19) + 0.5) / 19 * 2 - 1
    outer = np.sqrt(1 - u * u)
    core = np.sqrt(np.maximum(1 - (u / 0.80) ** 2, 0)) * 0.80
    section = thickness_mm * (outer - (1 - shell) * core)
    planar = np.hypot(step[:, 0], step[:, 1]) + 1e-9
    # across the rib: mostly up and down, turned with the rib where it runs steeply
    nx, ny = -step[:, 1] / planar, step[:, 0] / planar
    face = np.clip(planar / ds, 0.35, 1.0)
    height = np.asarray(half_height, dtype=np.float64) * np.ones(len(path))
    x = path[:, :1] + (nx * height * face)[:, None] * u
    y = path[:, 1:2] + (ny * height * face)[:, None] * u
    volume = ds[:, None] * section[None, :] * (2 * height[:, None] / len(u))
    return x, y, volume


def _rib(number: int, side: int, habitus: Habitus, posture: Posture, jitter: Curve) -> Curve:
    """Return the space curve of one rib from the spine round to its cartilage, shape (n, 3), mm."""
    p = thorax("ribs")
    angle = np.deg2rad(np.linspace(9.0, 150.0 - 2.0 * abs(number - 5), 340))
    start = (p["first_y_mm"] + p["step_mm"] * number) * habitus.height + jitter[0]
    drop = p["drop_mm"] + p["drop_per_rib_mm"] * number + jitter[1]
    if posture.view == "AP":
        drop *= 0.86
    y = start - 7.0 * np.sin(np.minimum(2.2 * angle, np.pi)) + drop * (1 - np.cos(angle))
    at_side = start + drop
    half_width = (
        float(cage_half_width(np.array([[at_side]], dtype=np.float32), habitus)[0, 0]) + 3.0
    )
    if number == 0:
        half_width *= 0.86
    depth = (thorax("cage")["half_depth_mm"] * habitus.depth + 3.0) * (
        0.6 + 0.4 * min(number / 4, 1)
    )
    z = -depth * np.cos(angle)
    x = side * half_width * np.sin(angle) ** 0.86
    x = x + np.tan(np.deg2rad(posture.rotation_deg)) * z
    return np.stack([x, y, z], axis=1)


def _ribs(plane: Plane, habitus: Habitus, posture: Posture) -> FloatMap:
    p = thorax("ribs")
    rng = np.random.default_rng(habitus.anatomy_seed)
    points = []
    for number in range(_N_RIBS):
        shared = rng.normal(0.0, 1.0, 2)
        for side in (-1, 1):
            jitter = shared * np.array([1.2, 1.6]) + rng.normal(0.0, 0.5, 2)
            path = _rib(number, side, habitus, posture, jitter)
            fade = np.clip((len(path) - np.arange(len(path))) / 40.0, 0, 1) ** 0.5
            size = p["half_height_mm"] * (1.12 if number in {0, 1} else 1.0) * habitus.height
            x, y, volume = _flat_tube(path, size, p["thickness_mm"], p["shell"])
            points.append((x, y, volume * fade[:, None] * p["bone_density"]))
    x, y, volume = (np.concatenate([np.ravel(part[i]) for part in points]) for i in range(3))
    return plane.lay(x, y, volume)


def _clavicles(plane: Plane, habitus: Habitus, posture: Posture) -> FloatMap:
    t = np.linspace(0, 1, 380)
    parts = []
    lift = 16.0 if posture.view == "AP" else 0.0
    for side in (-1, 1):
        z = 58.0 - 70.0 * t
        x = side * (15.0 + 145.0 * habitus.width * t) + np.tan(np.deg2rad(posture.rotation_deg)) * z
        y = (-94.0 - lift) * habitus.height - 34.0 * t**0.8 - 8.0 * np.sin(2 * np.pi * t)
        path = np.stack([x, y, z], axis=1)
        radius = 5.8 + 3.0 * np.exp(-((t / 0.10) ** 2)) - 2.0 * t**3
        parts.append(_flat_tube(path, radius * habitus.height, 11.5, 0.62))
    x, y, volume = (np.concatenate([np.ravel(part[i]) for part in parts]) for i in range(3))
    return plane.lay(x, y, volume)


def _spine(parts: SoftParts, habitus: Habitus, posture: Posture) -> FloatMap:
    p = thorax("spine")
    back = -thorax("cage")["half_depth_mm"] * habitus.depth + 25
    rng = np.random.default_rng(habitus.anatomy_seed + 1)
    bow = float(rng.normal(0, 2.0))
    y = parts.y[:, parts.y.shape[1] // 2][
        :, None
    ]  # the film's tilt of a degree does not matter here
    x = parts.x - np.float32(posture.shear(back)) - np.float32(bow) * np.sin(y / 95)
    phase = (y - p["first_y_mm"]) / (p["step_mm"] * habitus.height)
    within = phase - np.floor(phase)
    grow = 1 + 0.0012 * np.clip(y + 120, 0, None)
    half = p["half_width_mm"] * habitus.width * grow * (0.93 + 0.28 * (within - 0.5) ** 2)
    edge = np.clip((half - np.abs(x)) / 1.6, 0, 1)
    disc = p["disc_mm"] / p["step_mm"]
    body = np.clip(np.minimum(within, 1 - within) * p["step_mm"] - disc * 12, 0, 1.6) / 1.6
    plates = np.exp(-(((np.minimum(within, 1 - within) * p["step_mm"] - 4.0) / 1.3) ** 2))
    wall = np.exp(-(((half - np.abs(x) - 1.5) / 1.4) ** 2))
    bone = edge * (p["body_bone_mm"] * body + 2.0 * plates + 1.4 * wall * body)
    pedicle_x, pedicle_y = (np.abs(x) - 11.5) / 3.4, (within - 0.34) * p["step_mm"] / 5.0
    ring = np.exp(-((np.sqrt(pedicle_x**2 + pedicle_y**2) - 1) ** 2) / 0.10)
    process = np.exp(-((x / 3.2) ** 2)) * np.exp(-((((within - 0.78) * p["step_mm"]) / 5.5) ** 2))
    lateral = (np.abs(x) - half) / 16.0
    transverse = np.where((lateral > 0) & (lateral < 1), 1.0, 0.0) * np.exp(
        -((((within - 0.30) * p["step_mm"]) / 4.4) ** 2)
    )
    column = 0.8 * bone + 1.8 * ring + 2.6 * process + 1.5 * transverse * (1 - 0.6 * lateral)
    return blur(np.asarray(column, dtype=np.float32), 1.1)


def _polygons(plane: Plane, outlines: list[list[tuple[float, float]]]) -> FloatMap:
    """Return the union of polygons given in mm as a map of 0 to 1."""
    picture = Image.new("L", (plane.columns, plane.rows), 0)
    draw = ImageDraw.Draw(picture)
    for outline in outlines:
        column, row = plane.to_pixels([q[0] for q in outline], [q[1] for q in outline])
        draw.polygon(list(zip(column.tolist(), row.tolist(), strict=True)), fill=255)
    return np.asarray(picture, dtype=np.float32) / np.float32(255)


def _shoulders(plane: Plane, parts: SoftParts, habitus: Habitus, posture: Posture) -> FloatMap:
    """Return shoulder blades and upper arms; on AP films the blades lie over the lungs."""
    inward = 22.0 if posture.view == "AP" else 0.0
    h, w = habitus.height, habitus.width
    blades, arms = [], np.zeros(parts.x.shape, dtype=np.float32)
    for side in (-1, 1):
        corner = [
            (152, -128),
            (126, -116),
            (113, -84),
            (117, -30),
            (126, 4),
            (138, -14),
            (150, -72),
            (160, -104),
        ]
        blades.append([(side * (q[0] * w - inward), q[1] * h) for q in corner])
        head = ellipse_inside(parts.x, parts.y, (side * 181.0 * w, -118.0 * h), (24, 26))
        shaft = ellipse_inside(
            parts.x, parts.y, (side * 196.0 * w, -55.0 * h), (12, 80), -6.0 * side
        )
        inside = np.maximum(head, shaft)
        arms += 9.0 * np.sqrt(np.maximum(inside, 0)) + 5.0 * np.exp(
            -(((inside - 0.05) / 0.08) ** 2)
        )
    flat = blur(_polygons(plane, blades), 1.6)
    rim = np.clip(flat - blur(flat, 4.5), 0, 1)
    return np.asarray(1.7 * flat + 9.0 * rim + arms, dtype=np.float32)


def bones(plane: Plane, parts: SoftParts, habitus: Habitus, posture: Posture) -> FloatMap:
    """Project the skeleton.

    Returns
    -------
    numpy.ndarray
        Shape (rows, columns), float32, mm of dense bone along the ray; bones thin with age.

    """
    strength = 1.05 - 0.25 * float(np.clip((habitus.age_years - 50) / 45, 0, 1))
    total = _ribs(plane, habitus, posture) + _clavicles(plane, habitus, posture)
    total += _spine(parts, habitus, posture) + _shoulders(plane, parts, habitus, posture)
    return np.asarray(total * np.float32(strength), dtype=np.float32)
