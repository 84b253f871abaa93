"""An abdomen film: the wrong body part, for whoever must notice it."""

from __future__ import annotations

import numpy as np

from sandbox.generator.exposure import StoredMap, Technique, expose
from sandbox.generator.parameters import thorax
from sandbox.generator.projection import (
    FloatMap,
    Plane,
    blur,
    cloud,
    ellipse_inside,
    half_chord,
    smooth_step,
)


def _lumbar_spine(x: FloatMap, y: FloatMap) -> FloatMap:
    phase = (y + 150.0) / 36.0
    within = phase - np.floor(phase)
    half = 21.0 + 8.0 * (within - 0.5) ** 2
    edge = np.clip((half - np.abs(x)) / 2, 0, 1)
    plates = np.exp(-(((np.minimum(within, 1 - within) * 36 - 4.5) / 1.6) ** 2))
    ring = np.exp(-((np.hypot((np.abs(x) - 13) / 4, (within - 0.36) * 6) - 1) ** 2) / 0.12)
    transverse = np.exp(-(((within - 0.42) * 36 / 5) ** 2)) * smooth_step(46 - np.abs(x), 0, 10)
    total = edge * (5.0 + 4.0 * plates) + 4.0 * ring + 3.0 * transverse
    return np.asarray(total * smooth_step(105 - y, 0, 30), dtype=np.float32)


def _pelvis(x: FloatMap, y: FloatMap) -> FloatMap:
    total = np.zeros(x.shape, dtype=np.float32)
    for side in (-1, 1):
        wing = ellipse_inside(x, y, (side * 82.0, 150.0), (54, 82), -24.0 * side)
        crest = np.exp(-(((wing - 0.06) / 0.07) ** 2)) * smooth_step(145 - y, 0, 50)
        hollow = smooth_step(side * x, 26.0, 60.0)
        total += (2.2 * smooth_step(wing, 0.0, 0.3) + 4.5 * crest) * hollow
    sacrum = ellipse_inside(x, y, (0.0, 150.0), (52, 62))
    return np.asarray(total + 4.0 * smooth_step(sacrum, 0.0, 0.7), dtype=np.float32)


def _bowel(x: FloatMap, y: FloatMap, rng: np.random.Generator) -> FloatMap:
    """Return mm of gas in loops along the colon's frame and in the middle."""
    gas = np.zeros(x.shape, dtype=np.float32)
    frame = [
        (-112, 90),
        (-116, 50),
        (-112, 5),
        (-104, -60),
        (-60, -64),
        (-10, -52),
        (45, -66),
        (100, -86),
        (116, -30),
        (112, 40),
        (104, 95),
    ]
    for cx, cy in frame:
        if rng.random() < 0.75:
            centre = (cx + float(rng.normal(0, 7)), cy + float(rng.normal(0, 8)))
            axes = (float(rng.uniform(12, 19)), float(rng.uniform(12, 22)))
            gas = np.maximum(
                gas,
                half_chord(ellipse_inside(x, y, centre, axes, float(rng.uniform(-40, 40))), 22.0),
            )
    for _ in range(14):
        centre = (float(rng.normal(0, 48)), float(rng.normal(25, 38)))
        axes = (float(rng.uniform(7, 19)), float(rng.uniform(6, 10)))
        gas = np.maximum(
            gas, half_chord(ellipse_inside(x, y, centre, axes, float(rng.uniform(-80, 80))), 13.0)
        )
    stool = 1 + 0.3 * cloud(rng, x.shape, 14.0, 3)
    return blur((gas * np.clip(stool, 0.2, 1.6)).astype(np.float32), 1.3)


def render_abdomen(rng: np.random.Generator) -> StoredMap:
    """Project and expose an abdomen film with the same physics as the thorax.

    Returns
    -------
    numpy.ndarray
        Shape (512, 512), uint16 in 12 bits, MONOCHROME2.

    """
    film, p = thorax("film"), thorax("physics")
    x, y = Plane(int(film["rows"]), int(film["columns"]), 390.0 / int(film["columns"])).grid()
    body = 2 * half_chord(1 - np.abs(x / np.float32(172)) ** np.float32(2.5), 112.0)
    extra = np.zeros(x.shape, dtype=np.float32)
    liver = ellipse_inside(x, y, (-78.0, -118.0), (104, 88), 20.0)
    extra += 13.0 * smooth_step(liver, 0.0, 0.35)
    for side in (-1, 1):
        kidney = ellipse_inside(x, y, (side * 68.0, -42.0 - 6 * side), (26, 54), -12.0 * side)
        extra += 9.0 * np.sqrt(np.maximum(kidney, 0))
        psoas = (side * x - 24.0) - 0.42 * (y + 80.0)
        extra += (
            7.0 * smooth_step(-psoas, 0.0, 3.0) * smooth_step(y, -90.0, -60.0) * (side * x > 15)
        )
    bone = _lumbar_spine(x, y) + _pelvis(x, y)
    for number in range(2):
        for side in (-1, 1):
            line = y + 150.0 - 30.0 * number - 0.55 * side * x - 0.0014 * x * x
            reach = smooth_step(side * x, 24.0, 34.0) * smooth_step(132.0 - side * x, 0.0, 12.0)
            bone += 3.5 * np.exp(-((line / 5.5) ** 2)) * reach
    tissue = body + extra - _bowel(x, y, rng)
    total = p["soft_per_mm"] * np.maximum(tissue, 0) + p["bone_excess_per_mm"] * bone
    return expose(np.asarray(total, dtype=np.float32), Technique(exposure=1.3), rng)
