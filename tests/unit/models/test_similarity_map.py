"""The parts of a similarity add up to it, and lie where they were seen."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from models.embedder import OnnxImageEmbedder
from models.picture_geometry import PictureGeometry
from models.preprocessing import Preprocessing
from models.similarity_map import map_on_picture, pair_contributions, place_vectors
from models.similarity_picture import side_by_side_png, with_regions
from tests.unit.models.radiographs import a_frame, a_radiograph
from tests.unit.models.tiny_encoder import tiny_encoder

if TYPE_CHECKING:
    from pathlib import Path


def a_feature_map(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1.0, size=(16, 7, 7)).astype(np.float32)


def unit(vector: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = vector / np.linalg.norm(vector)
    return scaled


def test_contributions_of_an_encoders_maps_add_up_to_the_similarity(tmp_path: Path) -> None:
    embedder = OnnxImageEmbedder.from_folder(tiny_encoder(tmp_path / "encoder"))
    one, other = embedder.embed([a_frame(1), a_frame(2)])
    assert one.feature_map is not None
    assert other.feature_map is not None

    parts = pair_contributions(place_vectors(one.feature_map), place_vectors(other.feature_map))

    similarity = float(one.vector @ other.vector)
    assert parts.total == pytest.approx(similarity, abs=1e-6)
    assert parts.query.sum() == pytest.approx(similarity, abs=1e-6)
    assert parts.case.sum() == pytest.approx(similarity, abs=1e-6)


def test_contributions_with_a_projection_add_up_to_the_adapted_similarity() -> None:
    one, other = a_feature_map(1), a_feature_map(2)
    projection = np.random.default_rng(3).normal(size=(5, 16))
    adapted = [unit(projection @ unit(m.mean(axis=(1, 2)))) for m in (one, other)]

    parts = pair_contributions(*(place_vectors(m, projection) for m in (one, other)))

    assert parts.query.sum() == pytest.approx(float(adapted[0] @ adapted[1]), abs=1e-6)
    assert parts.case.sum() == pytest.approx(float(adapted[0] @ adapted[1]), abs=1e-6)


def test_contributions_beyond_the_expected_add_up_to_the_centred_similarity() -> None:
    one, other = a_feature_map(1), a_feature_map(2)
    library = [place_vectors(a_feature_map(seed)) for seed in range(3, 9)]
    expected = np.mean(library, axis=0)
    mean = np.mean([p.sum(axis=(1, 2)) for p in library], axis=0)
    centred = [unit(m.mean(axis=(1, 2))) - mean for m in (one, other)]

    parts = pair_contributions(place_vectors(one), place_vectors(other), expected=expected)

    assert parts.query.sum() == pytest.approx(float(centred[0] @ centred[1]), abs=1e-6)
    assert parts.case.sum() == pytest.approx(float(centred[0] @ centred[1]), abs=1e-6)


def test_place_vectors_when_the_shapes_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="projection"):
        place_vectors(a_feature_map(1), np.ones((4, 9)))
    with pytest.raises(ValueError, match="direction"):
        place_vectors(np.zeros((4, 2, 2)))
    with pytest.raises(ValueError, match="one encoder"):
        pair_contributions(np.ones((4, 2, 2)), np.ones((5, 2, 2)))


@pytest.mark.parametrize(
    ("rows", "columns", "border_px"),
    [(180, 150, 0), (150, 180, 24), (300, 90, 10), (1201, 977, 120)],
)
def test_geometry_tells_where_the_preprocessed_picture_is(
    rows: int, columns: int, border_px: int
) -> None:
    """Blobs are found in the square where the geometry says, to a pixel of it."""
    preprocessing = Preprocessing()
    plain = a_radiograph(rows=rows, columns=columns, border_px=border_px)
    geometry = preprocessing.geometry(plain)
    marked = plain.copy()
    at = border_px + rows // 3, border_px + 2 * columns // 3
    reach = max(rows // 60, 2)
    marked[at[0] - reach : at[0] + reach + 1, at[1] - reach : at[1] + reach + 1] = 1.0

    change = np.abs(preprocessing.grey_square(marked) - preprocessing.grey_square(plain))
    change[change < 0.5 * change.max()] = 0.0
    centre = [float(np.average(np.arange(224), weights=change.sum(axis=1 - a))) for a in (0, 1)]

    places = geometry.square_places()
    assert [float(places[a][at[a]]) for a in (0, 1)] == pytest.approx(centre, abs=1.0)
    step = (geometry.kept_rows.stop - geometry.kept_rows.start) / geometry.resized_shape[0]
    assert geometry.picture_place(*centre) == pytest.approx(at, abs=1.0 * step + 0.5)


def test_geometry_of_a_trimmed_picture_says_what_was_not_seen() -> None:
    preprocessing = Preprocessing()
    geometry = preprocessing.geometry(a_radiograph(3, border_px=24))
    rows, columns = geometry.square_places()

    assert np.flatnonzero(np.isfinite(rows)).tolist() == list(range(24, 204))
    assert np.flatnonzero(np.isfinite(columns)).tolist() == list(range(24, 174))
    content = geometry.content
    square = preprocessing.grey_square(a_radiograph(3, border_px=24))
    square[content] = 0.0
    assert not square.any()


def test_map_on_a_picture_peaks_at_the_hot_place() -> None:
    heat = np.zeros((7, 7))
    heat[2, 5] = 1.0
    geometry = PictureGeometry((400, 300), slice(40, 360), slice(0, 300), (224, 210), 224)

    on_picture = map_on_picture(heat, geometry)
    half = map_on_picture(heat, geometry, (200, 150))

    row, column = np.unravel_index(np.nanargmax(on_picture), on_picture.shape)
    assert (row, column) == pytest.approx(
        geometry.picture_place(2.5 * 32 - 0.5, 5.5 * 32 - 0.5), abs=1
    )
    assert np.isnan(on_picture[:40]).all()
    assert np.isfinite(on_picture[40:360]).all()
    assert half.shape == (200, 150)
    assert np.nanargmax(half.max(axis=1)) == pytest.approx(row / 2, abs=1)


def test_regions_picture_colours_the_positive_part_only() -> None:
    pixels = np.full((4, 6), 0.5, dtype=np.float32)
    heat = np.full((4, 6), -1.0)
    heat[1, 2] = 3.0
    heat[0] = np.nan

    shown = with_regions(pixels, heat)

    assert shown.shape == (4, 6, 3)
    red, green, blue = (int(v) for v in shown[1, 2])
    assert red > blue + 60
    assert green > blue + 60
    grey = np.delete(shown.reshape(-1, 3), 1 * 6 + 2, axis=0)
    assert (grey == 128).all()


def test_regions_picture_when_map_and_picture_differ_in_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        with_regions(np.zeros((4, 6), dtype=np.float32), np.zeros((6, 4)))


def test_two_pictures_side_by_side_fill_one_half_each_whatever_their_shapes() -> None:
    upright = np.full((40, 20, 3), (250, 0, 0), dtype=np.uint8)
    flat = np.full((10, 20, 3), (0, 0, 250), dtype=np.uint8)

    with Image.open(BytesIO(side_by_side_png(upright, flat))) as image:
        shown = np.asarray(image).astype(int)

    assert shown.shape == (40, 80, 3)
    reds, blues = shown[..., 0] > 200, shown[..., 2] > 200
    assert (reds == _box((40, 80), slice(0, 40), slice(10, 30))).all()
    assert (blues == _box((40, 80), slice(10, 30), slice(40, 80))).all()


def _box(shape: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    found = np.zeros(shape, dtype=bool)
    found[rows, columns] = True
    return found
