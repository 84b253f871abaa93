"""Stored values of one DICOM frame -> what a viewer would show, in [0, 1] with air dark.

Pure arithmetic of PS3.3 C.7.6.3, C.11.1 and C.11.2 on a dataset that has been parsed already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset

Float32Array = NDArray[np.float32]
AnyArray = NDArray[Any]

# Without a window, the darkest and brightest half per cent are clipped: markers, collimation edges.
ROBUST_PERCENTILES = (0.5, 99.5)
# Rec. ITU-R BT.601, the luminance that JPEG's YCbCr uses.
LUMINANCE_WEIGHTS = (0.299, 0.587, 0.114)


def shown_from_stored(stored: AnyArray, dataset: Dataset, frame_index: int) -> Float32Array:
    """Apply Modality LUT, VOI LUT or window, MONOCHROME1 and padding to one greyscale frame.

    Parameters
    ----------
    stored
        Shape ``(rows, columns)``, stored values, row 0 at the top.
    dataset
        The object that the frame belongs to.
    frame_index
        0-based; picks the frame's functional groups in an enhanced object.

    Returns
    -------
    numpy.ndarray
        Shape ``(rows, columns)``, float32 in [0, 1]; padding pixels are 0.

    References
    ----------
    DICOM PS3.3 C.7.5.1.1.2 (padding), C.7.6.3.1.2 (MONOCHROME1), C.11.1, C.11.2.

    """
    # Everything here depends on the stored value alone, so each distinct value is computed once.
    levels, positions, counts = _levels(stored)
    padding = padding_mask(levels, dataset)
    values = modality_values(levels, dataset, frame_index)
    shown = _windowed(values, dataset, frame_index, np.where(padding, 0, counts))
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        shown = 1.0 - shown
    shown[padding] = 0.0
    return _in_unit_range(shown)[positions]


def padding_mask(stored: AnyArray, dataset: Dataset) -> NDArray[np.bool_]:
    """Return where Pixel Padding Value (0028,0120) up to its Range Limit (0028,0121) stands."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return np.zeros(stored.shape, dtype=np.bool_)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    mask: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    # A picture that is nothing but padding has been mislabelled; leave it to the constant check.
    return mask if not mask.all() else np.zeros(stored.shape, dtype=np.bool_)


def modality_values(stored: AnyArray, dataset: Dataset, frame_index: int) -> Float32Array:
    """Return the output of the Modality LUT: its table, or Rescale Slope and Intercept.

    Examples
    --------
    >>> from pydicom import Dataset
    >>> ds = Dataset()
    >>> ds.RescaleSlope, ds.RescaleIntercept = 2, -1024
    >>> modality_values(np.array([[0, 512]]), ds, 0)
    array([[-1024.,     0.]], dtype=float32)

    """
    table = first_item(dataset, "ModalityLUTSequence")
    if table is not None:
        return lookup(stored, table)
    source = frame_group(dataset, "PixelValueTransformationSequence", frame_index) or dataset
    slope, intercept = number(source, "RescaleSlope", 1.0), number(source, "RescaleIntercept", 0.0)
    if slope in {0.0, 1.0} and intercept == 0.0:
        return stored.astype(np.float32)
    return (stored.astype(np.float64) * (slope or 1.0) + intercept).astype(np.float32)


def lookup(values: AnyArray, table: Dataset) -> Float32Array:
    """Map values through a LUT item; outside its range the first and last entries count."""
    descriptor = [int(v) for v in table.LUTDescriptor]
    n_entries = descriptor[0] or 65536
    entries = _lut_entries(table.LUTData, n_entries)
    position = np.clip(np.rint(values).astype(np.int64) - descriptor[1], 0, entries.size - 1)
    return entries[position].astype(np.float32)


def windowed_linear(values: Float32Array, centre: float, width: float) -> Float32Array:
    """Return the LINEAR function of PS3.3 C.11.2.1.2.1, in [0, 1].

    Examples
    --------
    >>> windowed_linear(np.array([-1, 0, 2047.5, 4095], dtype=np.float32), 2048, 4096).tolist()
    [0.0, 0.0, 0.5, 1.0]

    """
    if width <= 1:
        return np.asarray(values > centre - 0.5, dtype=np.float32)
    return _in_unit_range((values - (centre - 0.5)) / (width - 1) + 0.5)


def windowed_linear_exact(values: Float32Array, centre: float, width: float) -> Float32Array:
    """Return the LINEAR_EXACT function of PS3.3 C.11.2.1.3.2, in [0, 1]."""
    return _in_unit_range((values - centre) / width + 0.5)


def windowed_sigmoid(values: Float32Array, centre: float, width: float) -> Float32Array:
    """Return the SIGMOID function of PS3.3 C.11.2.1.3.1, in (0, 1)."""
    exponent = np.clip(-4.0 * (values.astype(np.float64) - centre) / width, -60.0, 60.0)
    return (1.0 / (1.0 + np.exp(exponent))).astype(np.float32)


def windowed_robust(values: Float32Array, counts: NDArray[np.int64]) -> Float32Array:
    """Stretch between robust percentiles, `counts` pixels each; a constant picture becomes 0."""
    order = np.argsort(values, kind="stable")
    order = order[counts[order] > 0]
    reached = np.cumsum(counts[order])
    ends = [np.searchsorted(reached, p / 100.0 * reached[-1]) for p in ROBUST_PERCENTILES]
    low, high = (float(values[order[min(int(end), order.size - 1)]]) for end in ends)
    if high <= low:
        low, high = float(values[order[0]]), float(values[order[-1]])
    if high <= low:
        return np.zeros(values.shape, dtype=np.float32)
    return _in_unit_range((values - low) / (high - low))


def luminance(colour: AnyArray, *, white: float) -> Float32Array:
    """Return the luminance of RGB samples, shape ``(rows, columns, 3)``, where `white` is full."""
    weights = np.asarray(LUMINANCE_WEIGHTS, dtype=np.float32)
    shown = (colour[..., :3].astype(np.float32) @ weights) / np.float32(white)
    return _in_unit_range(shown)


def frame_group(dataset: Dataset, keyword: str, frame_index: int) -> Dataset | None:
    """Return the functional group of a frame: its own before the shared one (C.7.6.16)."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if frame_index < len(per_frame):
        own = first_item(per_frame[frame_index], keyword)
        if own is not None:
            return own
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    return first_item(shared, keyword) if shared is not None else None


def first_item(dataset: Dataset, keyword: str) -> Dataset | None:
    """Return the first item of a sequence, or None."""
    sequence = dataset.get(keyword)
    return sequence[0] if sequence else None


def number(dataset: Dataset, keyword: str, default: float) -> float:
    """Return the first value of a numeric element, or `default` where it is absent or empty."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return default
    first = value if isinstance(value, (int, float, str)) else value[0]
    result = float(first)
    return result if np.isfinite(result) else default


def _windowed(
    values: Float32Array,
    dataset: Dataset,
    frame_index: int,
    counts: NDArray[np.int64],
) -> Float32Array:
    table = first_item(dataset, "VOILUTSequence")
    if table is not None:
        entries = _lut_entries(table.LUTData, int(table.LUTDescriptor[0]) or 65536)
        full = max(2 ** int(table.LUTDescriptor[2]) - 1, int(entries.max()), 1)
        return np.asarray(lookup(values, table) / np.float32(full), dtype=np.float32)
    source = frame_group(dataset, "FrameVOILUTSequence", frame_index) or dataset
    width = number(source, "WindowWidth", 0.0)
    centre = number(source, "WindowCenter", np.nan)
    if width <= 0 or np.isnan(centre):
        return windowed_robust(values, counts)
    function = str(source.get("VOILUTFunction") or "LINEAR").upper()
    if function == "SIGMOID":
        return windowed_sigmoid(values, centre, width)
    if function == "LINEAR_EXACT":
        return windowed_linear_exact(values, centre, width)
    return windowed_linear(values, centre, width)


def _levels(stored: AnyArray) -> tuple[AnyArray, NDArray[np.intp], NDArray[np.int64]]:
    """Return the values there may be, where each pixel's value stands, and how many have it."""
    low, high = int(stored.min()), int(stored.max())
    if stored.dtype.kind == "f" or high - low >= max(stored.size, 65536):
        levels, inverse, counts = np.unique(stored, return_inverse=True, return_counts=True)
        return levels, inverse.reshape(stored.shape), counts
    positions = stored.astype(np.intp)
    positions -= low
    return np.arange(low, high + 1), positions, np.bincount(positions.ravel())


def _lut_entries(data: Any, n_entries: int) -> NDArray[np.int64]:  # noqa: ANN401  # US or OW value
    if isinstance(data, bytes):
        wide = len(data) >= 2 * n_entries
        return np.frombuffer(data, dtype="<u2" if wide else "u1")[:n_entries].astype(np.int64)
    return np.atleast_1d(np.asarray(data, dtype=np.int64))[:n_entries]


def _in_unit_range(values: AnyArray) -> Float32Array:
    return np.asarray(np.clip(values, 0.0, 1.0), dtype=np.float32)
