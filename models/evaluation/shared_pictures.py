"""Labelled pictures of public collections as frozen embeddings, grouped so that nothing leaks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cds.domain.grouping import joined_groups
from models.collection_files import TABLE_FILE, grey_pixels, table_rows
from models.labelled_vectors import LabelledVectors
from models.picture_groups import THUMBNAIL_SIDE_PX, alike_pairs
from models.preprocessing import Preprocessing
from models.runtime import open_session

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.intp]

_BATCH = 16
_SHIFT = 1_000  # keeps the classes of two sources apart


@dataclass(frozen=True, slots=True)
class Source:
    """A collection, its classes, and when two of its pictures count as one.

    Attributes
    ----------
    folder
        Name in the data folder.
    classes
        Labels as the table words them; the first one that a row has is its class. Empty: all.
    duplicate_correlation
        Thumbnails that correlate more belong together. Slices of one series look more alike than
        films of two patients, so that CT and MR take a lower one.
    article
        Pattern whose first group names the article that a figure was cut from, or None.

    """

    folder: str
    classes: tuple[str, ...] = ()
    duplicate_correlation: float = 0.98
    article: str | None = None


SOURCES = (
    Source("nih_chestxray14_subset", ("No Finding", "Pneumonia")),
    Source("kaggle4_cxr", ("No Finding", "Bacterial pneumonia", "Viral pneumonia")),
    Source("brain_mri", duplicate_correlation=0.95),
    Source("chest_ct_cancer", duplicate_correlation=0.95),
    Source(
        "covid_ct",
        duplicate_correlation=0.95,
        article=r"^(covid__.+?)-p\d+-|^(noncovid__[^_]+)",
    ),
)


@dataclass(frozen=True, slots=True)
class FrozenEncoder:
    """An ONNX encoder with its preprocessing; `name` names its cache."""

    name: str
    model: Path
    preprocessing: Preprocessing


def labelled_embeddings(
    data: Path,
    encoder: FrozenEncoder,
    cache: Path,
    *,
    sources: tuple[Source, ...] = SOURCES,
    told: Callable[[str], None] = lambda _: None,
) -> LabelledVectors:
    """Embed the labelled pictures of some sources, or take the vectors from the cache.

    Parameters
    ----------
    data
        Holds one folder per source, each with ``metadata.csv``.
    encoder
        Embeds.
    cache
        Folder of vectors and thumbnails by encoder and source; made if need be. It holds derived
        pictures: keep it out of the repository.
    sources
        Which collections; their place is their number.
    told
        Told what is done.

    Raises
    ------
    ValueError
        If a source is not there.

    """
    parts = []
    for number, source in enumerate(sources):
        folder = data / source.folder
        if not (folder / TABLE_FILE).is_file():
            raise ValueError(f"the data folder lacks {source.folder}")
        rows = table_rows(folder)
        vectors, thumbnails = _cached(rows, folder, encoder, cache, told)
        classes = classes_of(rows, source)
        groups = groups_of(rows, thumbnails, source)
        kept = classes >= 0
        parts.append(
            LabelledVectors(
                vectors[kept],
                classes[kept] + _SHIFT * number,
                np.full(int(kept.sum()), number, dtype=np.intp),
                groups[kept] + 1_000_000 * number,
            )
        )
    return LabelledVectors(
        np.concatenate([p.vectors for p in parts]),
        np.concatenate([p.classes for p in parts]),
        np.concatenate([p.collections for p in parts]),
        np.concatenate([p.groups for p in parts]),
    )


def _cached(
    rows: list[dict[str, str]],
    folder: Path,
    encoder: FrozenEncoder,
    cache: Path,
    told: Callable[[str], None],
) -> tuple[Float32Array, Float32Array]:
    """Return vectors ``(n, d)`` and thumbnails ``(n, 1024)``."""
    file = cache / f"{encoder.name}-{folder.name}.npz"
    names = np.array([row["file"] for row in rows])
    if file.is_file():
        with np.load(file, allow_pickle=False) as held:
            if np.array_equal(held["names"], names):
                return held["vectors"], held["thumbnails"]
    told(f"embedding {len(rows)} pictures of {folder.name} with {encoder.name}")
    session = open_session(encoder.model.read_bytes())
    vectors, thumbnails = [], []
    for start in range(0, len(rows), _BATCH):
        squares = [
            encoder.preprocessing.grey_square(grey_pixels(folder / row["file"]))
            for row in rows[start : start + _BATCH]
        ]
        batch = np.stack([encoder.preprocessing.normalise(square) for square in squares])
        (embedded,) = session.run(["embedding"], {"pixel_values": batch})
        vectors.append(embedded / np.linalg.norm(embedded, axis=1, keepdims=True))
        thumbnails += [thumbnail(square) for square in squares]
    cache.mkdir(parents=True, exist_ok=True)
    joined = np.concatenate(vectors).astype(np.float32), np.stack(thumbnails)
    np.savez(file, allow_pickle=False, names=names, vectors=joined[0], thumbnails=joined[1])
    return joined


def thumbnail(square: Float32Array) -> Float32Array:
    """Shrink a preprocessed picture ``(s, s)`` to the ``(1024,)`` grey values that tell copies."""
    side, cell = THUMBNAIL_SIDE_PX, square.shape[0] // THUMBNAIL_SIDE_PX
    means: Float32Array = square.reshape(side, cell, side, cell).mean(axis=(1, 3)).ravel()
    return means


def classes_of(rows: list[dict[str, str]], source: Source) -> IntArray:
    """Return the class of each row of a table, shape ``(n,)``; -1 where it has none."""
    names = source.classes or tuple(sorted({row["labels"] for row in rows}))
    return np.array(
        [
            next((i for i, name in enumerate(names) if name in row["labels"].split("|")), -1)
            for row in rows
        ],
        dtype=np.intp,
    )


def groups_of(rows: list[dict[str, str]], thumbnails: Float32Array, source: Source) -> IntArray:
    """Join pictures of one patient, article or named duplicate group, and near-duplicates."""
    pairs = alike_pairs(thumbnails, threshold=source.duplicate_correlation)
    return joined_groups([_keys(row, source) for row in rows], pairs)


def _keys(row: dict[str, str], source: Source) -> list[str]:
    keys = [f"{name}:{row[name]}" for name in ("patient_id", "dup_group") if row.get(name)]
    if source.article is not None:
        found = re.match(source.article, Path(row["file"]).name)
        keys += [f"article:{found.group(1) or found.group(2)}"] if found else []
    return keys
