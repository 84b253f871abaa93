"""From path lengths to stored pixels: Beer-Lambert, scatter, noise, display curve, marker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sandbox.generator.parameters import thorax
from sandbox.generator.projection import FloatMap, blur

StoredMap = npt.NDArray[np.uint16]

# the display curve is looked up: from -4 to 4 spans of log exposure
_CURVE_FROM, _CURVE_STEPS, _CURVE_SIZE = -4.0, 8192, 65536

# 5 x 7 glyphs of our own, so that the marker's pixels do not hang on any font file
_GLYPHS = {
    "S": "01111 10000 10000 01110 00001 00001 11110",
    "Y": "10001 10001 01010 00100 00100 00100 00100",
    "N": "10001 11001 10101 10101 10011 10001 10001",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "H": "10001 10001 10001 11111 10001 10001 10001",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "I": "01110 00100 00100 00100 00100 00100 01110",
    "C": "01111 10000 10000 10000 10000 10000 01111",
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "R": "11110 10001 10001 11110 10100 10010 10001",
}


@dataclass(frozen=True, slots=True)
class Technique:
    """How the film was exposed and framed.

    Attributes
    ----------
    exposure
        Factor on the number of photons.
    contrast
        Factor on the display curve's slope.
    brightness
        Shift of the display curve, share of the full scale.
    border_px
        Width of the unexposed frame that the system leaves (0 = none).
    side_marker
        ``L`` or ``R``: the lead letter; L stands on the picture's right.

    """

    exposure: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0
    border_px: int = 0
    side_marker: str = "L"


def line_text(text: str, scale: int) -> npt.NDArray[np.bool_]:
    """Return the text as a bitmap of shape (7 * scale, 6 * scale * len(text) - scale)."""
    rows = [[int(bit) for bit in "0".join(_GLYPHS[c].split()[r] for c in text)] for r in range(7)]
    return np.kron(np.array(rows, dtype=np.uint8), np.ones((scale, scale), dtype=np.uint8)).astype(
        bool
    )


def marker_box() -> tuple[slice, slice]:
    """Return rows and columns of the identical marker, with its dark margin."""
    p = thorax("marker")
    bitmap = line_text(p["text"], 2)
    top, left = int(p["row"]) - 2, int(p["column"]) - 2
    return slice(top, top + bitmap.shape[0] + 4), slice(left, left + bitmap.shape[1] + 4)


def stamp(stored: StoredMap) -> StoredMap:
    """Write the one identical marker into stored pixels (in place) and return them."""
    p = thorax("marker")
    box = marker_box()
    stored[box] = 0
    bitmap = line_text(p["text"], 2)
    patch = stored[box]
    patch[2:-2, 2:-2][bitmap] = p["level"]
    return stored


def _side_letter(line_integral: FloatMap, technique: Technique) -> None:
    """Add the lead letter in the upper corner outside the lungs."""
    bitmap = line_text(technique.side_marker, 4)
    columns = line_integral.shape[1]
    top = 26 + technique.border_px
    left = (
        columns - 52 - technique.border_px
        if technique.side_marker == "L"
        else 28 + technique.border_px
    )
    patch = line_integral[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
    patch[bitmap] += 5.0


def expose(line_integral: FloatMap, technique: Technique, rng: np.random.Generator) -> StoredMap:
    """Expose and develop a film.

    Parameters
    ----------
    line_integral
        Shape (rows, columns); attenuation along each ray, no unit.
    technique
        Exposure and framing.
    rng
        Draws the quantum noise.

    Returns
    -------
    numpy.ndarray
        Shape (rows, columns), uint16 in 12 bits; MONOCHROME2, bone bright.

    """
    p = thorax("physics")
    _side_letter(line_integral, technique)
    primary = np.exp(-line_integral)
    ratio = p["scatter_fraction"] / (1 - p["scatter_fraction"])
    scattered = np.minimum(primary, 0.10)
    beam = blur(primary + ratio * blur(scattered, p["scatter_sigma_px"]), p["focal_blur_px"])
    mean = np.maximum(beam, 1e-6) * np.float32(p["photons_per_px"] * technique.exposure)
    counts = mean + np.sqrt(mean + p["read_noise"] ** 2) * rng.standard_normal(
        mean.shape, dtype=np.float32
    )
    density = -np.log(
        np.maximum(counts, 1.0) / np.float32(p["photons_per_px"] * technique.exposure)
    )
    return _develop(density.astype(np.float32), technique)


def _curve(technique: Technique) -> StoredMap:
    """Return the display curve as stored values over `_CURVE_SIZE` equal steps of log exposure."""
    p, film = thorax("physics"), thorax("film")
    scaled = _CURVE_FROM + np.arange(_CURVE_SIZE) / _CURVE_STEPS
    line = 0.55 + technique.contrast * p["curve_slope"] * (scaled - 0.52) + technique.brightness
    toe, shoulder = 0.12, 0.86
    low = toe * np.exp((np.minimum(line, toe) - toe) / toe)
    high = 1 - (1 - shoulder) * np.exp(-(np.maximum(line, shoulder) - shoulder) / (1 - shoulder))
    soft = np.where(line < toe, low, np.where(line > shoulder, high, line))
    top = 2 ** int(film["bits_stored"]) - 1
    return np.asarray(np.clip(np.round(soft * top), 0, top), dtype=np.uint16)


def _develop(density: FloatMap, technique: Technique) -> StoredMap:
    """Turn log exposure into stored values: detail gain, sigmoid curve, frame, marker."""
    p = thorax("physics")
    base = blur(density, p["detail_sigma_px"])
    shown = base + np.float32(p["detail_gain"]) * (density - base)
    middle = shown[70:-90:4, 90:-90:4]
    low, high = np.percentile(middle[middle > p["body_density"]], [6.0, 97.0])
    span = p["own_span_share"] * float(high - low) + (1 - p["own_span_share"]) * p["usual_span"]
    scaled = (shown - (high - span)) / np.float32(span)
    position = np.clip((scaled - _CURVE_FROM) * _CURVE_STEPS, 0, _CURVE_SIZE - 1).astype(np.int32)
    stored = _curve(technique)[position]
    if technique.border_px:
        b = technique.border_px
        framed = np.zeros_like(stored)
        framed[b:-b, b:-b] = stored[b:-b, b:-b]
        stored = framed
    return stamp(stored)
