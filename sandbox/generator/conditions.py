"""The conditions: who has them, what they are called, and which signs a film of them shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from sandbox.generator.parameters import parameters
from sandbox.generator.places import SignSpec

EMBOLISM_NUMBER = 14  # stands for the clear film of an embolism in the table of tests ordered
Z_90 = 1.2816  # standard normal 90th percentile


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of ``conditions.toml``; `table` holds its shares."""

    key: str
    number: int
    group: str
    n_cases: int
    code: str
    display: str
    table: Mapping[str, Any]


@cache
def conditions() -> Mapping[str, Condition]:
    """Return every condition by its key, in the order of the file."""
    return {
        key: Condition(key, t["number"], t["group"], t["n"], t["code"], t["display"], t)
        for key, t in parameters("conditions")["condition"].items()
    }


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a condition with values or a name of its own; empty name = none."""

    name: str = ""
    code: str = ""
    display: str = ""


def draw_part(condition: Condition, rng: np.random.Generator) -> Part:
    """Draw which part of a condition a patient belongs to."""
    rows = [
        (str(row["name"]), float(row["share"]))
        for row in parameters("labs")["part"]
        if row["condition"] == condition.number
    ]
    named = parameters("conditions")["part"]
    known = {name for name, _ in rows}
    rows += [
        (n, float(t["share"]))
        for n, t in named.items()
        if t["of"] == condition.key and n not in known
    ]
    at = rng.random()
    for name, share in rows:
        if at < share:
            table = named.get(name, {})
            return Part(name, table.get("code", ""), table.get("display", ""))
        at -= share
    return Part()


def draw_number(rng: np.random.Generator, spread: list[float]) -> float:
    """Draw from [median, 10th, 90th percentile] with a normal on each side of the median."""
    median, low, high = spread
    z = float(rng.standard_normal())
    return median + z / Z_90 * ((high - median) if z > 0 else (median - low))


def draw_age(condition: Condition, rng: np.random.Generator) -> int:
    """Draw whole years for an adult with the condition."""
    spread = condition.table["age"]
    if condition.key == "pneumothorax" and rng.random() < 0.45:
        spread = [68, 55, 80]
    return int(np.clip(round(draw_number(rng, spread)), 18, 99))


_Films = Callable[[Part, str, np.random.Generator], list[SignSpec]]


def _pick(
    rng: np.random.Generator, options: list[tuple[str, str]], shares: list[float]
) -> tuple[str, str]:
    return options[int(rng.choice(len(options), p=np.array(shares) / sum(shares)))]


def _effusion(view: str, side: str, size: float, rng: np.random.Generator) -> SignSpec:
    lying = view == "AP" and rng.random() < 0.5
    return SignSpec("effusion_supine" if lying else "effusion", side, "lower", size)


def _pneumonia(part: Part, view: str, rng: np.random.Generator) -> list[SignSpec]:
    places = [("right", "lower"), ("left", "lower"), ("right", "upper"), ("right", "middle")]
    side, place = _pick(rng, places, [0.40, 0.25, 0.20, 0.15])
    signs = [SignSpec("consolidation", side, place, float(rng.uniform(0.1, 1.0)))]
    if rng.random() < 0.20:
        signs.append(_effusion(view, side, float(rng.uniform(0.05, 0.2)), rng))
    return signs


def _tuberculosis(part: Part, view: str, rng: np.random.Generator) -> list[SignSpec]:
    side, place = _pick(
        rng, [("right", "upper"), ("left", "upper"), ("both", "upper")], [0.55, 0.25, 0.20]
    )
    signs = [SignSpec("cavity", side, place, float(rng.uniform(0.0, 1.0)))]
    one_side = side if side != "both" else "right"
    if rng.random() < 0.35:
        signs.append(SignSpec("volume_loss", one_side, "upper"))
    if rng.random() < 0.10:
        signs.append(_effusion(view, one_side, float(rng.uniform(0.05, 0.25)), rng))
    return signs


def _cancer(part: Part, view: str, rng: np.random.Generator) -> list[SignSpec]:
    hilar = "right" if rng.random() < 0.5 else "left"
    places = [("right", "upper"), ("left", "upper"), (hilar, "hilum"), (hilar, "lower")]
    side, place = _pick(rng, places, [0.35, 0.25, 0.25, 0.15])
    is_nodule = rng.random() < 0.30
    size = rng.uniform(0.02, 0.18) if is_nodule else rng.uniform(0.22, 1.0)
    signs = [SignSpec("mass", side, place, float(size))]
    if not is_nodule and rng.random() < 0.20:
        lobe = "lower" if place == "hilum" else place
        signs.append(SignSpec("consolidation", side, lobe, float(rng.uniform(0.1, 0.5))))
    if rng.random() < 0.12:
        signs.append(_effusion(view, side, float(rng.uniform(0.1, 0.4)), rng))
    return signs


def _sarcoidosis(part: Part, view: str, rng: np.random.Generator) -> list[SignSpec]:
    stage = rng.choice(4, p=[0.50, 0.35, 0.10, 0.05])
    hila = SignSpec("bilateral_hila", "both", "hilum", float(rng.uniform(0.2, 1.0)))
    spread = SignSpec("nodules", "both", "middle", float(rng.uniform(0.2, 1.0)))
    return [[hila], [hila, spread], [spread], [spread]][int(stage)]


def _heart_failure(part: Part, view: str, rng: np.random.Generator) -> list[SignSpec]:
    size = float(rng.uniform(0.1, 1.0))
    signs = [SignSpec("perihilar_haze", "both", "hilum", size)]
    if rng.random() < 0.75:
        signs.append(SignSpec("septal_lines", "both", "lower", float(rng.uniform(0.2, 1.0))))
    if rng.random() < 0.70:
        side = str(rng.choice(["both", "right"]))
        signs.append(_effusion(view, side, float(rng.uniform(0.04, 0.24)), rng))
    return signs


def _covid(part: Part, view: str, rng: np.random.Generator) -> list[SignSpec]:
    return [SignSpec("peripheral_ground_glass", "both", "lower", float(rng.uniform(0.0, 1.0)))]


def _pneumocystis(part: Part, view: str, rng: np.random.Generator) -> list[SignSpec]:
    size = 0.0 if rng.random() < 0.15 else float(rng.uniform(0.15, 1.0))
    signs = [SignSpec("perihilar_ground_glass", "both", "hilum", size)]
    if rng.random() < 0.10:
        signs.append(SignSpec("bulla", "left", "upper", 0.2))
    return signs


def _pneumothorax(part: Part, view: str, rng: np.random.Generator) -> list[SignSpec]:
    side = "left" if rng.random() < 0.52 else "right"
    if part.name == "tension":
        return [SignSpec("tension_pneumothorax", side, "", float(rng.uniform(0.85, 1.0)))]
    is_small = rng.random() < 0.45
    size = rng.uniform(0.03, 0.2) if is_small else rng.uniform(0.25, 0.85)
    return [SignSpec("pneumothorax", side, "", float(size))]


def _pleural_effusion(part: Part, view: str, rng: np.random.Generator) -> list[SignSpec]:
    side = "right" if rng.random() < 0.55 else "left"
    size = rng.uniform(0.5, 0.95) if rng.random() < 0.40 else rng.uniform(0.12, 0.45)
    return [_effusion(view, side, float(size), rng)]


def _clear(part: Part, view: str, rng: np.random.Generator) -> list[SignSpec]:
    side = "right" if rng.random() < 0.5 else "left"
    if part.name == "small_nodule":
        place = str(rng.choice(["upper", "middle", "lower"]))
        return [SignSpec("small_nodule", side, place, float(rng.uniform(0.2, 1.0)))]
    if part.name == "embolism" and rng.random() < 0.35:
        return [SignSpec("effusion", side, "lower", 0.02)]
    return []


_SIGNS: dict[str, _Films] = {
    "pneumonia": _pneumonia,
    "tuberculosis": _tuberculosis,
    "lung_cancer": _cancer,
    "sarcoidosis": _sarcoidosis,
    "heart_failure": _heart_failure,
    "ards": lambda part, view, rng: [
        SignSpec("diffuse_opacity", "both", "", float(rng.uniform(0, 1)))
    ],
    "covid": _covid,
    "pneumocystis": _pneumocystis,
    "pneumothorax": _pneumothorax,
    "effusion": _pleural_effusion,
    "copd": lambda part, view, rng: [
        SignSpec("hyperinflation", "both", "", float(rng.uniform(0, 1)))
    ],
    "no_acute_finding": _clear,
    "free_air": lambda part, view, rng: [
        SignSpec("free_air", "right", "", float(rng.uniform(0.3, 1)))
    ],
}


def film_signs(
    condition: Condition, part: Part, view: str, rng: np.random.Generator
) -> tuple[SignSpec, ...]:
    """Draw the signs that a film of this condition shows."""
    return tuple(_SIGNS[condition.key](part, view, rng))


def draw_devices(
    condition: Condition, view: str, rng: np.random.Generator, *, is_ventilated: bool = False
) -> tuple[str, ...]:
    """Draw tubes, lines and leads: by condition only where the ward would have them."""
    devices: list[str] = []
    if is_ventilated:
        devices += ["tracheal_tube", "central_line", "gastric_tube"]
    elif rng.random() < condition.table["tubes_share"]:
        devices.append(str(rng.choice(["central_line", "gastric_tube"], p=[0.7, 0.3])))
    if view == "AP" and rng.random() < parameters("conditions")["library"]["ecg_share_of_ap"]:
        devices.append("ecg_leads")
    return tuple(devices)
