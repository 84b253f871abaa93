"""Branching tubes of the lung: pulmonary vessels, and airways filled with air."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sandbox.generator.anatomy import Habitus, Posture, SoftParts
from sandbox.generator.parameters import thorax
from sandbox.generator.projection import FloatMap, Plane, cloud, half_chord, smooth_step

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Branches:
    """Segments of one generation: start (n, 2) in mm; direction, length, radius, bend (n,)."""

    start: Points
    angle: Points
    length_mm: Points
    radius_mm: Points
    bend: Points

    def end(self) -> Points:
        """Return the far ends, shape (n, 2)."""
        return self.at(np.ones((1,)))[:, 0, :]

    def at(self, t: Points) -> Points:
        """Return points along each segment at shares `t`, shape (n, len(t), 2)."""
        turn = self.angle[:, None] + self.bend[:, None] * t[None, :]
        along = self.length_mm[:, None] * t[None, :]
        return np.stack(
            [self.start[:, :1] + along * np.cos(turn), self.start[:, 1:] + along * np.sin(turn)],
            axis=-1,
        )


def _children(rng: np.random.Generator, parents: Branches) -> Branches:
    """Return two branches at the end of each segment: a stronger and a weaker one."""
    p = thorax("vessels")
    n = len(parents.angle)
    sign = rng.choice([-1.0, 1.0], n)
    spread = rng.normal(0.42, 0.13, (2, n)) * np.array([[0.55], [1.35]])
    angle = parents.angle + parents.bend + np.concatenate([spread[:1] * sign, -spread[1:] * sign])
    ratio = p["radius_ratio"] * np.array([[1.08], [0.86]]) * rng.normal(1, 0.05, (2, n))
    length = p["length_ratio"] * parents.length_mm * rng.normal(1.0, 0.16, (2, n))
    return Branches(
        start=np.concatenate([parents.end()] * 2),
        angle=np.ravel(angle),
        length_mm=np.ravel(np.clip(length, 4.0, 60.0)),
        radius_mm=np.ravel(ratio * parents.radius_mm),
        bend=rng.normal(0, 0.22, 2 * n),
    )


def grow(rng: np.random.Generator, trunks: Branches, generations: int) -> list[Branches]:
    """Grow a tree from its trunks; each generation is one value of `Branches`."""
    tree = [trunks]
    for _ in range(generations - 1):
        tree.append(_children(rng, tree[-1]))
    return tree


def lay_tree(plane: Plane, tree: list[Branches]) -> FloatMap:
    """Lay the round tubes of a tree down as path length in mm, shape (rows, columns)."""
    xs, ys, volumes = [], [], []
    for level in tree:
        reach = float(level.length_mm.max())
        n_along = max(int(reach / (plane.pixel_mm * 1.15)), 3)
        n_across = max(int(1.9 * float(level.radius_mm.max()) / plane.pixel_mm), 2)
        t = (np.arange(n_along) + 0.5) / n_along
        u = (np.arange(n_across) + 0.5) / n_across * 2 - 1
        centre = level.at(t)
        turn = level.angle[:, None] + 2 * level.bend[:, None] * t[None, :]
        radius = level.radius_mm[:, None] * (1 - 0.22 * t[None, :])
        offset = radius[..., None] * u
        x = centre[..., 0, None] - np.sin(turn)[..., None] * offset
        y = centre[..., 1, None] + np.cos(turn)[..., None] * offset
        ds = (level.length_mm / n_along)[:, None, None]
        chord = 2 * radius[..., None] * np.sqrt(1 - u * u)
        xs.append(np.ravel(x).astype(np.float32))
        ys.append(np.ravel(y).astype(np.float32))
        volumes.append(np.ravel(chord * ds * (2 * radius[..., None] / n_across)).astype(np.float32))
    return plane.lay(np.concatenate(xs), np.concatenate(ys), np.concatenate(volumes))


def hilum(side: int, habitus: Habitus, posture: Posture) -> tuple[float, float]:
    """Return (x, y) in mm of a hilum; side -1 is the patient's right."""
    p = thorax("vessels")
    y = p["hilum_right_y_mm"] if side < 0 else p["hilum_left_y_mm"]
    rise = -9.0 if posture.view == "AP" else 0.0
    x = side * p["hilum_x_mm"] * habitus.width + 0.8 * posture.shift_mm + posture.shear(5.0)
    return x, float((y + rise) * habitus.height + 0.25 * max(posture.diaphragm_mm))


def _trunks(rng: np.random.Generator, side: int, habitus: Habitus, posture: Posture) -> Branches:
    """Return the first branches of one lung: a fan from straight up to straight down."""
    p = thorax("vessels")
    x, y = hilum(side, habitus, posture)
    fan = np.deg2rad(np.array([-82.0, -60.0, -36.0, -10.0, 16.0, 42.0, 62.0, 80.0]))
    fan = fan + rng.normal(0, 0.09, fan.size)
    # lower vessels are wider in the upright patient
    size = np.array([0.70, 0.78, 0.72, 0.70, 0.86, 1.10, 1.30, 1.05]) * rng.normal(
        1, 0.08, fan.size
    )
    length = (
        p["trunk_length_mm"] * np.array([1.0, 1.0, 0.9, 0.8, 0.85, 1.0, 1.2, 1.2]) * habitus.height
    )
    angle = np.where(side > 0, fan, np.pi - fan)
    start = np.stack([x - side * 9 + 6 * np.cos(angle), y + 16 * np.sin(fan)], axis=1)
    return Branches(
        start, angle, length, p["trunk_radius_mm"] * size, side * rng.normal(0.10, 0.12, fan.size)
    )


def _bundle(trunks: Branches, upper_gain: float) -> Branches:
    """Return the trunks with those that run upwards widened by `upper_gain`."""
    gain = np.where(np.sin(trunks.angle) < -0.1, upper_gain, 1.0)
    return Branches(
        trunks.start, trunks.angle, trunks.length_mm, trunks.radius_mm * gain, trunks.bend
    )


def markings(
    plane: Plane,
    parts: SoftParts,
    habitus: Habitus,
    posture: Posture,
    *,
    upper_gain: float = 1.0,
    gain: float = 1.0,
) -> FloatMap:
    """Project the pulmonary vessels and the lung's fine texture.

    Parameters
    ----------
    plane, parts, habitus, posture
        Where, and in whom.
    upper_gain
        Factor on the radius of the upper vessels (congestion).
    gain
        Factor on all (pruned below 1 in hyperinflation).

    Returns
    -------
    numpy.ndarray
        Shape (rows, columns), float32, mm of soft tissue that replaces air.

    """
    p = thorax("vessels")
    total = np.zeros(parts.x.shape, dtype=np.float32)
    for side in (-1, 1):
        rng = np.random.default_rng((habitus.anatomy_seed, side + 2))
        trunks = _bundle(_trunks(rng, side, habitus, posture), upper_gain)
        tree = grow(rng, trunks, int(p["generations"]))
        veins = grow(rng, _bundle(_trunks(rng, side, habitus, posture), upper_gain), 4)
        for level in veins:
            level.radius_mm[:] *= 0.72
        total += lay_tree(plane, tree) + lay_tree(plane, veins)
    rng = np.random.default_rng((habitus.anatomy_seed, 9))
    grain = cloud(rng, (plane.rows, plane.columns), 5.2, 2)
    depth = parts.lung / np.float32(140.0)
    texture = np.float32(p["texture_mm"]) * depth * (1.0 + grain)
    within = smooth_step(parts.lung, 12.0, 85.0)
    return np.asarray(
        (total * within + np.maximum(texture, 0)) * np.float32(gain), dtype=np.float32
    )


def airways(parts: SoftParts, habitus: Habitus, posture: Posture) -> FloatMap:
    """Project windpipe and main bronchi as mm of air in place of soft tissue."""
    x, y = parts.x, parts.y[:, parts.y.shape[1] // 2][:, None]
    carina = -26.0 * habitus.height
    middle = posture.shear(0.0) + posture.shift_mm * np.clip((y + 165) / 110, 0, 1)
    radius = np.float32(8.2 * habitus.width)
    tube = half_chord(1 - ((x - middle) / radius) ** 2, 2 * float(radius))
    tube = tube * np.clip((carina - y) / 9.0, 0, 1)
    total = tube
    for side, slope, reach in ((-1, 1.25, 24.0), (1, 0.78, 34.0)):
        start_x = posture.shift_mm + side * 3.0
        along = side * (x - start_x)
        centre = carina - 4.0 + slope * along
        width = np.float32(6.2)
        limb = half_chord(1 - ((y - centre) / (width * np.hypot(1, slope))) ** 2, 2.8 * 2)
        total = np.maximum(
            total, limb * np.clip(along / 3, 0, 1) * np.clip((reach - along) / 8, 0, 1)
        )
    within = 1 - smooth_step(parts.lung, 2.0, 45.0)
    return np.asarray(total * within, dtype=np.float32)
