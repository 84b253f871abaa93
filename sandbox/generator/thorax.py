"""One chest film from a plan: scene, signs, devices, exposure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sandbox.generator.anatomy import Habitus, Posture
from sandbox.generator.devices import draw_device
from sandbox.generator.exposure import StoredMap, Technique, expose
from sandbox.generator.parameters import thorax
from sandbox.generator.places import SignSpec
from sandbox.generator.projection import Plane
from sandbox.generator.scene import SignRecord, build_scene
from sandbox.generator.signs import DRAW


@dataclass(frozen=True, slots=True)
class FilmPlan:
    """All that decides one film, apart from noise.

    Attributes
    ----------
    posture
        Without what disease adds: `signs` bring that.
    field_mm
        Width of the picture in the patient's plane.

    """

    habitus: Habitus
    posture: Posture
    technique: Technique
    signs: tuple[SignSpec, ...] = ()
    devices: tuple[str, ...] = ()
    field_mm: float = 352.0
    tilt_deg: float = 0.0
    shift_mm: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Radiograph:
    """A developed film.

    Attributes
    ----------
    stored_pixels
        Shape (rows, columns), uint16 in 12 bits, MONOCHROME2.
    signs
        What was drawn and where.
    pixel_spacing_mm
        In the patient's plane, both ways.

    """

    stored_pixels: StoredMap
    signs: tuple[SignRecord, ...]
    pixel_spacing_mm: float


def draw_plan(
    rng: np.random.Generator,
    habitus: Habitus,
    *,
    view: str,
    signs: tuple[SignSpec, ...] = (),
    devices: tuple[str, ...] = (),
    is_site_b: bool = False,
) -> FilmPlan:
    """Draw how a film was taken: inspiration, rotation, exposure, framing; whatever the disease.

    Parameters
    ----------
    rng
        Source of randomness.
    habitus
        The patient.
    view
        ``PA`` or ``AP``.
    signs, devices
        What the film is to show.
    is_site_b
        The second hospital leaves a dark frame and marks the right side.

    Returns
    -------
    FilmPlan
        Ready for `render`.

    """
    film = thorax("film")
    inspiration = float(rng.normal(0.0, thorax("diaphragm")["inspiration_sd_mm"]))
    posture = Posture(
        view=view,
        diaphragm_mm=(inspiration + float(rng.normal(0, 2)), inspiration + float(rng.normal(0, 2))),
        rotation_deg=float(rng.normal(0.0, 2.2 if view == "PA" else 3.6)),
    )
    technique = Technique(
        exposure=float(np.exp(rng.normal(0.0, 0.35))),
        contrast=float(rng.normal(1.0, 0.07)),
        brightness=float(rng.normal(0.0, 0.03)),
        border_px=int(rng.integers(9, 19)) if is_site_b else 0,
        side_marker="R" if is_site_b else "L",
    )
    return FilmPlan(
        habitus=habitus,
        posture=posture,
        technique=technique,
        signs=signs,
        devices=devices,
        field_mm=float(rng.normal(film["field_mm"], film["field_sd_mm"]))
        * max(habitus.width, 0.94),
        tilt_deg=float(rng.normal(0.0, film["tilt_sd_deg"])),
        shift_mm=(
            float(rng.normal(0, film["shift_sd_mm"])),
            float(rng.normal(0, film["shift_sd_mm"])),
        ),
    )


def _with_signs(posture: Posture, signs: tuple[SignSpec, ...]) -> tuple[Posture, float, float]:
    """Return the posture that the signs make, and the vessels' upper and overall gains."""
    heart, upper, vessels = thorax("heart"), 1.0, 1.0
    for sign in signs:
        away = -sum(sign.sides) if len(sign.sides) == 1 else 0
        right, left = posture.diaphragm_mm
        if sign.kind == "perihilar_haze":
            posture, upper = replace(posture, heart_scale=heart["failure_scale"]), 1.42
        elif sign.kind == "hyperinflation":
            posture = replace(
                posture, heart_scale=heart["narrow_scale"], flatness=0.45 + 0.55 * sign.size
            )
            vessels = 0.86 - 0.18 * sign.size
        elif sign.kind == "tension_pneumothorax":
            pressed = (right + 26.0, left) if away > 0 else (right, left + 26.0)
            posture = replace(
                posture, shift_mm=posture.shift_mm + 27.0 * away, diaphragm_mm=pressed
            )
        elif sign.kind == "effusion" and away and sign.size > 0.72:
            posture = replace(posture, shift_mm=posture.shift_mm + 14.0 * away)
        elif sign.kind == "volume_loss":
            raised = (right - 13.0, left) if away > 0 else (right, left - 13.0)
            posture = replace(posture, shift_mm=posture.shift_mm - 9.0 * away, diaphragm_mm=raised)
    return posture, upper, vessels


def render(plan: FilmPlan, rng: np.random.Generator) -> Radiograph:
    """Project and expose one film.

    Parameters
    ----------
    plan
        What to show; its signs change outlines first, then tissue.
    rng
        Draws textures, bowel gas and quantum noise.

    Returns
    -------
    Radiograph
        512 x 512 pixels at the frozen parameters.

    """
    film = thorax("film")
    rows, columns = int(film["rows"]), int(film["columns"])
    plane = Plane(
        rows,
        columns,
        plan.field_mm / columns,
        plan.tilt_deg,
        (plan.shift_mm[0], film["centre_y_mm"] + plan.shift_mm[1]),
    )
    posture, upper, vessels = _with_signs(plan.posture, plan.signs)
    scene = build_scene(plane, plan.habitus, posture, rng, upper_gain=upper, vessel_gain=vessels)
    for sign in plan.signs:
        if sign.kind in DRAW:
            DRAW[sign.kind](scene, sign, rng)
    for device in plan.devices:
        draw_device(scene, device, rng)
    stored = expose(scene.line_integral(), plan.technique, rng)
    return Radiograph(stored, tuple(scene.signs), plane.pixel_mm)
