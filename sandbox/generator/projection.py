"""Geometry of the projection: pixels and millimetres, chords of solids, tubes as path lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

FloatMap = npt.NDArray[np.float32]
Interval = tuple[FloatMap, FloatMap]


@dataclass(frozen=True, slots=True)
class Plane:
    """The detector seen from the patient: a square grid in mm, tilted and shifted a little.

    Attributes
    ----------
    rows, columns
        Size of the picture in pixels; row 0 is the top.
    pixel_mm
        Edge of a pixel in the patient's plane.
    tilt_deg
        Rotation of the patient in the plane of the picture.
    centre_mm
        (x, y) of the picture's middle in the patient's system.

    """

    rows: int
    columns: int
    pixel_mm: float
    tilt_deg: float = 0.0
    centre_mm: tuple[float, float] = (0.0, 0.0)

    def grid(self) -> tuple[FloatMap, FloatMap]:
        """Return x and y in mm of every pixel centre, each of shape (rows, columns)."""
        across = (
            np.arange(self.columns, dtype=np.float32) - (self.columns - 1) / 2
        ) * self.pixel_mm
        down = (np.arange(self.rows, dtype=np.float32) - (self.rows - 1) / 2) * self.pixel_mm
        cos, sin = np.cos(np.deg2rad(self.tilt_deg)), np.sin(np.deg2rad(self.tilt_deg))
        x = cos * across[None, :] + sin * down[:, None] + self.centre_mm[0]
        y = -sin * across[None, :] + cos * down[:, None] + self.centre_mm[1]
        return x.astype(np.float32), y.astype(np.float32)

    def halved(self) -> Plane:
        """Return the same field in half as many rows and columns."""
        rows, columns = self.rows // 2, self.columns // 2
        return Plane(rows, columns, self.pixel_mm * 2, self.tilt_deg, self.centre_mm)

    def to_pixels(
        self, x_mm: npt.ArrayLike, y_mm: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """Return fractional (column, row) of points in mm; pixel centres are whole numbers."""
        dx = np.asarray(x_mm) - self.centre_mm[0]
        dy = np.asarray(y_mm) - self.centre_mm[1]
        cos = float(np.cos(np.deg2rad(self.tilt_deg))) / self.pixel_mm
        sin = float(np.sin(np.deg2rad(self.tilt_deg))) / self.pixel_mm
        column = cos * dx - sin * dy + (self.columns - 1) / 2
        row = sin * dx + cos * dy + (self.rows - 1) / 2
        return column, row

    def lay(self, x_mm: npt.ArrayLike, y_mm: npt.ArrayLike, volume_mm3: npt.ArrayLike) -> FloatMap:
        """Lay small volumes down as path length, shared bilinearly between four pixels.

        Returns
        -------
        numpy.ndarray
            Shape (rows, columns), float32, mm of material along the ray.

        """
        column, row = self.to_pixels(
            np.ravel(np.asarray(x_mm, dtype=np.float32)),
            np.ravel(np.asarray(y_mm, dtype=np.float32)),
        )
        weight = np.ravel(np.asarray(volume_mm3, dtype=np.float32)) / np.float32(self.pixel_mm**2)
        inside = (column > 0) & (column < self.columns - 1) & (row > 0) & (row < self.rows - 1)
        column, row, weight = column[inside], row[inside], weight[inside]
        left, top = np.floor(column), np.floor(row)
        flat = (top * np.float32(self.columns) + left).astype(np.int64)
        low_weight = weight * (row - top)
        high_weight = weight - low_weight
        right_share = column - left
        size = self.rows * self.columns
        upper_right, lower_right = high_weight * right_share, low_weight * right_share
        total = np.bincount(flat, high_weight - upper_right, size)
        total[1:] += np.bincount(flat, upper_right, size)[:-1]
        total[self.columns :] += np.bincount(flat, low_weight - lower_right, size)[: -self.columns]
        total[self.columns + 1 :] += np.bincount(flat, lower_right, size)[: -self.columns - 1]
        return total.reshape(self.rows, self.columns).astype(np.float32)


def overlap(one: Interval, other: Interval) -> Interval:
    """Return the common part of two depth intervals per pixel; empty where low >= high."""
    return np.maximum(one[0], other[0]), np.minimum(one[1], other[1])


def length(interval: Interval) -> FloatMap:
    """Return the length in mm of an interval per pixel, zero where it is empty."""
    return np.asarray(np.maximum(interval[1] - interval[0], 0), dtype=np.float32)


def length_of_union(a: Interval, b: Interval, c: Interval) -> FloatMap:
    """Return the length of the union of three depth intervals per pixel."""
    ab, ac, bc = overlap(a, b), overlap(a, c), overlap(b, c)
    single = length(a) + length(b) + length(c)
    double = length(ab) + length(ac) + length(bc)
    return single - double + length(overlap(ab, c))


def half_chord(inside: npt.ArrayLike, half_depth_mm: float) -> FloatMap:
    """Return the half depth of an ellipsoid; `inside` is 1 minus the in-plane quadratic form."""
    chord = np.sqrt(np.maximum(inside, 0)) * np.float32(half_depth_mm)
    return np.asarray(chord, dtype=np.float32)


_NEAR = 1.45  # radii around an ellipse within which its form is worked out
_FAR = np.float32(-1.0)


def _window(
    x: FloatMap, y: FloatMap, centre: tuple[float, float], reach_mm: float
) -> tuple[slice, slice]:
    """Return rows and columns within `reach_mm` of a point, on a grid tilted by a few degrees."""
    step = float(np.hypot(x[0, 1] - x[0, 0], y[0, 1] - y[0, 0]))
    along = np.array([x[0, 1] - x[0, 0], y[0, 1] - y[0, 0]]) / step
    offset = np.array([centre[0] - x[0, 0], centre[1] - y[0, 0]])
    column = float(offset @ along) / step
    row = float(offset @ np.array([-along[1], along[0]])) / step
    reach = reach_mm / step + 2
    rows = slice(max(int(row - reach), 0), max(int(row + reach) + 1, 0))
    return rows, slice(max(int(column - reach), 0), max(int(column + reach) + 1, 0))


def ellipse_form(
    x: FloatMap,
    y: FloatMap,
    centre: tuple[float, float],
    axes: tuple[float, float],
    tilt_deg: float = 0.0,
) -> FloatMap:
    """Return 1 minus the quadratic form of a tilted ellipse: 1 in the middle, 0 on its edge."""
    cos, sin = float(np.cos(np.deg2rad(tilt_deg))), float(np.sin(np.deg2rad(tilt_deg)))
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    u = dx * np.float32(cos / axes[0]) + dy * np.float32(sin / axes[0])
    v = dy * np.float32(cos / axes[1]) - dx * np.float32(sin / axes[1])
    return np.asarray(1 - u * u - v * v, dtype=np.float32)


def ellipse_inside(
    x: FloatMap,
    y: FloatMap,
    centre: tuple[float, float],
    axes: tuple[float, float],
    tilt_deg: float = 0.0,
) -> FloatMap:
    """Return `ellipse_form` near the ellipse and -1 further away: cheaper for small ones."""
    window = _window(x, y, centre, _NEAR * max(axes))
    inside = np.full(x.shape, _FAR, dtype=np.float32)
    inside[window] = np.maximum(ellipse_form(x[window], y[window], centre, axes, tilt_deg), _FAR)
    return inside


def smooth_step(value: FloatMap, low: float, high: float) -> FloatMap:
    """Return 0 below `low`, 1 above `high`, a cubic between."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def resize(values: FloatMap, rows: int, columns: int) -> FloatMap:
    """Resample a map bicubically to (rows, columns)."""
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.array(picture.resize((columns, rows), Image.Resampling.BICUBIC), dtype=np.float32)


def blur(values: FloatMap, sigma_px: float) -> FloatMap:
    """Blur with a Gaussian; wide ones on a reduced grid, which nobody can tell apart."""
    step = max(int(sigma_px // 4), 1)
    if step == 1:
        return ndimage.gaussian_filter(values, sigma_px, mode="nearest", truncate=3.0)
    rows, columns = values.shape
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    small = np.asarray(
        picture.resize((columns // step, rows // step), Image.Resampling.BOX), dtype=np.float32
    )
    wide = ndimage.gaussian_filter(small, sigma_px / step, mode="nearest", truncate=3.0)
    return resize(wide, rows, columns)


def cloud(
    rng: np.random.Generator, shape: tuple[int, int], grain_px: float, octaves: int = 3
) -> FloatMap:
    """Draw a smooth random field of zero mean and unit deviation.

    Parameters
    ----------
    rng
        Source of randomness.
    shape
        (rows, columns) of the result.
    grain_px
        Size of the largest structures in pixels; each further octave is half of it.
    octaves
        Number of octaves, each of 0.6 times the amplitude of the one before.

    Returns
    -------
    numpy.ndarray
        Shape `shape`, float32.

    """
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        size = max(grain_px / 2**octave, 1.5)
        rows, columns = int(shape[0] / size) + 3, int(shape[1] / size) + 3
        field = rng.standard_normal((rows, columns), dtype=np.float32)
        total += np.float32(0.6**octave) * resize(field, *shape)
    centred = (total - total.mean()) / (total.std() + np.float32(1e-6))
    return np.asarray(centred, dtype=np.float32)
