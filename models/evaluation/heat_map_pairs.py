"""The pictures that the tests of the heat maps look at, as the encoder sees them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.collection_files import grey_pixels, table_rows
from models.embedder import FEATURE_MAP_OUTPUT, INPUT_NAME
from models.manifest import MODEL_FILE, PREPROCESSOR_FILE, read_manifest
from models.picture_geometry import PictureGeometry
from models.preprocessing import Preprocessing
from models.runtime import open_session
from models.similarity_map import place_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnxruntime

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

SOURCES = ("nih_chestxray14_subset", "kaggle4_cxr", "hannover_covid", "covid_chestxray")
LESIONS = "tbx11k_tb"
PAIRS_FILE = "pairs.json"
_BATCH_SIZE = 16


@dataclass(frozen=True, eq=False)
class SeenPicture:
    """A picture as the encoder sees it.

    Attributes
    ----------
    grey
        Shape ``(size_px, size_px)``, before normalisation.
    places
        `place_vectors` of it.

    """

    grey: Float32Array
    geometry: PictureGeometry
    places: Float64Array

    @cached_property
    def embedding(self) -> Float64Array:
        """Shape ``(d,)``, unit norm."""
        total: Float64Array = self.places.sum(axis=(1, 2))
        return total


@dataclass(frozen=True, slots=True, eq=False)
class MatchedPair:
    """A picture, the most similar one of another patient, and the mean of the library."""

    query: SeenPicture
    case: SeenPicture
    expected: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class BoxedPicture:
    """A picture with boxes, each (first column, first row, last column, last row), in [0, 1]."""

    path: Path
    boxes: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class FindingPair:
    """Two films with one finding, and both without it."""

    finding: str
    with_it: tuple[BoxedPicture, BoxedPicture]
    without_it: tuple[Path, Path]


class SquareEncoder:
    """The shipped graph, fed with squares that a test may have changed."""

    def __init__(
        self, session: onnxruntime.InferenceSession, preprocessing: Preprocessing, name: str
    ) -> None:
        self._session = session
        self._preprocessing = preprocessing
        self.name = name

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Open a verified encoder folder."""
        manifest = read_manifest(folder)
        contents = manifest.verified_files(folder)
        preprocessing = Preprocessing.from_config(json.loads(contents[PREPROCESSOR_FILE]))
        return cls(open_session(contents[MODEL_FILE]), preprocessing, manifest.name)

    def seen(self, paths: Sequence[Path]) -> list[SeenPicture]:
        """Read, preprocess and embed picture files."""
        pictures = [grey_pixels(path) for path in paths]
        greys = [self._preprocessing.grey_square(pixels) for pixels in pictures]
        return [
            SeenPicture(grey, self._preprocessing.geometry(pixels), places)
            for grey, pixels, places in zip(greys, pictures, self.places(greys), strict=True)
        ]

    def places(self, greys: Sequence[Float32Array]) -> list[Float64Array]:
        """Return `place_vectors` of each square."""
        found: list[Float64Array] = []
        for start in range(0, len(greys), _BATCH_SIZE):
            part = greys[start : start + _BATCH_SIZE]
            batch = np.stack([self._preprocessing.normalise(grey) for grey in part])
            (maps,) = self._session.run([FEATURE_MAP_OUTPUT], {INPUT_NAME: batch})
            found += [place_vectors(one) for one in maps]
        return found


def matched_pairs(
    encoder: SquareEncoder, data: Path, *, n_pairs: int, seed: int, per_source: int = 150
) -> list[MatchedPair]:
    """Pair pictures with the most similar one of another patient of the same source.

    Parameters
    ----------
    encoder
        Decides what is similar.
    data
        The shared data folder.
    n_pairs
        How many, in equal parts from the sources.
    seed
        Draws pictures and queries.
    per_source
        Pictures drawn per source: the library; half of them gives `expected`.

    """
    rng = np.random.default_rng(seed)
    pairs: list[MatchedPair] = []
    for source in SOURCES:
        rows = table_rows(data / source)
        drawn = [rows[i] for i in rng.permutation(len(rows))[:per_source]]
        seen = encoder.seen([data / source / row["file"] for row in drawn])
        patients = np.array([row["patient_id"] or row["file"] for row in drawn])
        expected = np.mean([one.places for one in seen], axis=0)
        embeddings = np.stack([one.embedding for one in seen])
        for i in range(-(-n_pairs // len(SOURCES))):
            similarities = embeddings @ embeddings[i]
            similarities[patients == patients[i]] = -np.inf
            pairs.append(MatchedPair(seen[i], seen[int(similarities.argmax())], expected))
    return pairs[:n_pairs]


def synthetic_pairs(folder: Path) -> list[FindingPair]:
    """Read what ``python -m sandbox.generator.finding_pairs`` wrote."""
    entries = json.loads((folder / PAIRS_FILE).read_text(encoding="utf-8"))
    pairs = []
    for entry in entries:
        one, other = (
            BoxedPicture(folder / film["file"], (_relative(folder / film["file"], film["box_px"]),))
            for film in entry["films"]
        )
        without = tuple(folder / film["without"] for film in entry["films"])
        pairs.append(FindingPair(entry["finding"], (one, other), (without[0], without[1])))
    return pairs


def lesion_pictures(data: Path) -> list[BoxedPicture]:
    """Read the tuberculosis pictures with their radiologists' boxes."""
    pictures = []
    for row in table_rows(data / LESIONS):
        boxes = tuple(_box(text) for text in row["bboxes_rel"].split(";") if text.strip())
        if boxes:
            pictures.append(BoxedPicture(data / LESIONS / row["file"], boxes))
    return pictures


def _box(text: str) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(part) for part in text.rpartition(":")[2].split(","))
    return left, top, right, bottom


def _relative(path: Path, box_px: Sequence[int]) -> tuple[float, float, float, float]:
    with Image.open(path) as image:
        columns, rows = image.size
    left, top, right, bottom = box_px
    return left / columns, top / rows, (right + 1) / columns, (bottom + 1) / rows
