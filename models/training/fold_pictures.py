"""The pictures of a cross-validation: those that are trained on, and those that never are."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.adapter_selection import group_folds
from models.collection_files import UINT8_MAX, grey_pixels, table_rows
from models.evaluation.shared_pictures import SOURCES, classes_of, groups_of, thumbnail
from models.labelled_vectors import LabelledVectors
from models.preprocessing import Preprocessing
from models.training import splits
from models.training.comparison import TASKS
from models.training.labels import class_of
from models.training.rows import grey_squares, permissive_rows, rounded

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.intp]

OPENI = "openi_hello_world"
OPENI_CLASSES = ("ABDOMEN", "CHEST")
_OPENI_SHORTCUTS_QUALITY = 60  # of JPEG, in percent
_GROUPS_PER_COLLECTION = 1_000_000
NO_FOLD = NO_CLASS = -1


@dataclass(frozen=True, slots=True, eq=False)
class FoldPictures:
    """Preprocessed pictures with what is known of each; all arrays have the length n.

    Attributes
    ----------
    names
        Source and file.
    collections
        Name of the source; variants of a picture count as sources of their own.
    squares
        Shape ``(n, s, s)``, uint8.
    classes
        By which retrieval within the source is measured; -1 where it is not.
    groups
        Patient and near-duplicates; over all sources.
    views
        As the source words the projection.
    trainable
        Whether training may see the picture when its fold is not held out.

    """

    names: NDArray[np.str_]
    collections: NDArray[np.str_]
    squares: NDArray[np.uint8]
    classes: IntArray
    groups: IntArray
    views: NDArray[np.str_]
    trainable: NDArray[np.bool_]

    def write(self, path: Path) -> None:
        """Keep them in an npz file. It holds pictures: keep it out of the repository."""
        np.savez(path, allow_pickle=False, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` kept."""
        with np.load(path, allow_pickle=False) as held:
            return cls(**{field.name: held[field.name] for field in fields(cls)})

    def folds(self, n_folds: int, *, seed: int) -> IntArray:
        """Deal whole groups to folds, source by source: shape ``(n,)``, -1 if not trainable."""
        chosen = np.flatnonzero(self.trainable)
        folds = np.full(len(self.names), NO_FOLD, dtype=np.intp)
        folds[chosen] = group_folds(
            self.labelled(np.zeros((len(self.names), 1)), chosen), n_folds, seed=seed
        )
        return folds

    def labelled(self, vectors: NDArray[Any], chosen: IntArray) -> LabelledVectors:
        """Return some rows with their vectors ``(n, d)``."""
        numbers = np.unique(self.collections, return_inverse=True)[1]
        return LabelledVectors(
            vectors[chosen].astype(np.float32),
            self.classes[chosen],
            numbers[chosen],
            self.groups[chosen],
        )


def fold_pictures(data: Path, preprocessing: Preprocessing) -> FoldPictures:
    """Read the permissive sources, other modalities, and the chest and abdomen pictures.

    Parameters
    ----------
    data
        Holds one folder per source, each with ``metadata.csv``.
    preprocessing
        The function that serving uses.

    Raises
    ------
    ValueError
        If none of the permissive sources is there.
    OSError
        If one of the others is not.

    """
    parts = [_permissive(data, preprocessing)]
    parts += [
        _untrained(data, number, preprocessing)
        for number, source in enumerate(SOURCES)
        if source.folder not in TASKS
    ]
    parts += [
        _chest_and_abdomen(data, name, changed, preprocessing)
        for name, changed in OPENI_VARIANTS.items()
    ]
    return FoldPictures(
        **{
            f.name: np.concatenate([getattr(p, f.name) for p in parts])
            for f in fields(FoldPictures)
        }
    )


def _permissive(data: Path, preprocessing: Preprocessing) -> FoldPictures:
    rows = permissive_rows(data)
    squares = grey_squares(rows, preprocessing)
    views = {
        f"{source}/{Path(row['file']).name}": row["view"]
        for source in TASKS
        for row in table_rows(data / source)
    }
    classes = [class_of(row, TASKS[row.source]) if row.source in TASKS else None for row in rows]
    return FoldPictures(
        names=np.array([row.name for row in rows]),
        collections=np.array([row.source for row in rows]),
        squares=squares,
        classes=np.array([NO_CLASS if c is None else c for c in classes], dtype=np.intp),
        groups=splits.groups_of(rows, splits.near_duplicate_pairs(squares)),
        views=np.array([views.get(row.name, "") for row in rows]),
        trainable=np.ones(len(rows), dtype=np.bool_),
    )


def _untrained(data: Path, number: int, preprocessing: Preprocessing) -> FoldPictures:
    source = SOURCES[number]
    folder = data / source.folder
    rows = table_rows(folder)
    squares = np.stack([preprocessing.grey_square(grey_pixels(folder / r["file"])) for r in rows])
    groups = groups_of(rows, np.stack([thumbnail(square) for square in squares]), source)
    return _never_trained_on(
        [f"{source.folder}/{Path(row['file']).name}" for row in rows],
        source.folder,
        squares,
        classes_of(rows, source),
        groups + _GROUPS_PER_COLLECTION * (1 + number),
    )


def _chest_and_abdomen(
    data: Path,
    name: str,
    changed: Callable[[Float32Array], Float32Array],
    preprocessing: Preprocessing,
) -> FoldPictures:
    folder = data / OPENI
    rows = [row for row in table_rows(folder) if row["split"] != "TEST"]
    squares = [preprocessing.grey_square(changed(grey_pixels(folder / r["file"]))) for r in rows]
    return _never_trained_on(
        [f"{name}/{Path(row['file']).name}" for row in rows],
        name,
        np.stack(squares),
        np.array([OPENI_CLASSES.index(row["body_part"]) for row in rows], dtype=np.intp),
        np.arange(len(rows)) + _GROUPS_PER_COLLECTION * (1 + len(SOURCES)),
    )


def _never_trained_on(
    names: list[str],
    collection: str,
    squares: Float32Array,
    classes: IntArray,
    groups: IntArray,
) -> FoldPictures:
    n = len(names)
    return FoldPictures(
        names=np.array(names),
        collections=np.full(n, collection),
        squares=rounded(squares),
        classes=classes,
        groups=groups,
        views=np.full(n, ""),
        trainable=np.zeros(n, dtype=np.bool_),
    )


def _inverted(pixels: Float32Array) -> Float32Array:
    return np.float32(1.0) - pixels


def _recompressed(pixels: Float32Array) -> Float32Array:
    content = io.BytesIO()
    whole = np.rint(pixels * UINT8_MAX).astype(np.uint8)
    Image.fromarray(whole).save(content, "JPEG", quality=_OPENI_SHORTCUTS_QUALITY)
    with Image.open(content) as picture:
        return np.asarray(picture, dtype=np.float32) / np.float32(UINT8_MAX)


# File type and inversion give the class away in these pictures.
OPENI_VARIANTS: dict[str, Callable[[Float32Array], Float32Array]] = {
    OPENI: lambda pixels: pixels,
    f"{OPENI}, re-compressed": _recompressed,
    f"{OPENI}, inverted and re-compressed": lambda pixels: _recompressed(_inverted(pixels)),
}
