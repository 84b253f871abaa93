"""MedMNIST files: pictures and labels as arrays, already divided into splits."""

from __future__ import annotations

import hashlib
from functools import partial
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from models.evaluation.dataset import SOURCE, LabelledPicture, Side

# Names of the classes of the collections whose numbers are not self-explaining (MedMNIST v2,
# doi:10.1038/s41597-022-01721-8); others are shown as numbers.
_CLASS_NAMES = {
    "pneumoniamnist": ("normal", "pneumonia"),
    "breastmnist": ("malignant", "normal, benign"),
}
# Where a collection's pictures come from, as training tables name it.
_ORIGINS = {"pneumoniamnist": "kaggle4_cxr"}
_SPLITS = {"train": Side.LIBRARY, "val": Side.LIBRARY, "test": Side.QUERY}
_UINT8_MAX = 255.0
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def read_medmnist(path: Path) -> list[LabelledPicture]:
    """Read a MedMNIST ``.npz``: the test split queries, train and validation are searched.

    Parameters
    ----------
    path
        Holds ``train_images``, ``train_labels`` and the same for ``val`` and ``test``; pictures
        ``(n, rows, columns)`` or ``(n, rows, columns, 3)``, uint8, one label each.

    Returns
    -------
    list of LabelledPicture
        Each of a patient of its own: the files name none.

    Raises
    ------
    CdsError
        INVALID_REQUEST if it is no such file, or has several labels per picture.

    """
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        parts = {split: (arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in _SPLITS}
    except (OSError, ValueError, KeyError, BadZipFile, EOFError):
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"{path.name} is no MedMNIST file: it lacks pictures and labels of train, val or test.",
        ) from None
    names = next((n for key, n in _CLASS_NAMES.items() if path.name.startswith(key)), ())
    source = next((s for key, s in _ORIGINS.items() if path.name.startswith(key)), path.stem)
    pictures: list[LabelledPicture] = []
    for split, (images, labels) in parts.items():
        pictures.extend(
            _of_split(split, _grey(images, path), _column(labels, path), (names, source))
        )
    return pictures


def _of_split(
    split: str,
    grey: NDArray[np.uint8],
    labels: NDArray[np.intp],
    collection: tuple[tuple[str, ...], str],
) -> list[LabelledPicture]:
    names, source = collection
    return [
        LabelledPicture(
            labels=(names[label] if label < len(names) else str(label),),
            patient=f"{split} {number}",
            read=partial(_frame, pixels),
            attributes={SOURCE: source},
            side=_SPLITS[split],
        )
        for number, (pixels, label) in enumerate(zip(grey, labels.tolist(), strict=True))
    ]


def _frame(pixels: NDArray[np.uint8]) -> PixelFrame:
    return PixelFrame(
        pixels=pixels.astype(np.float32) / np.float32(_UINT8_MAX),
        content_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
    )


def _grey(images: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """Return shape ``(n, rows, columns)``; colour as luminance."""
    if images.dtype == np.uint8 and images.ndim == 3:
        return images
    if images.dtype == np.uint8 and images.ndim == 4 and images.shape[-1] == 3:
        grey: NDArray[np.uint8] = np.rint(images @ _LUMINANCE).astype(np.uint8)
        return grey
    raise CdsError(
        Reason.INVALID_REQUEST,
        f"{path.name} does not hold two-dimensional pictures of 8 bits; volumes are not supported.",
    )


def _column(labels: NDArray[np.intp], path: Path) -> NDArray[np.intp]:
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] != 1:
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"{path.name} has several labels per picture; one class per picture is needed.",
        )
    return flat[:, 0].astype(np.intp)
