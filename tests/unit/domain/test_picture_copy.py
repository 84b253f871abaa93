import numpy as np
import pytest
from numpy.typing import NDArray

from cds.domain.perceptual_hash import hamming_distance, perceptual_hash
from cds.domain.picture_copy import (
    CANDIDATE_BITS,
    COPY_CORRELATION,
    HASHED_SIDE_PX,
    SIDE_PX,
    GreyThumbnail,
    inner_hashes,
    is_copy,
    registered_correlation,
    thumbnail,
)


def a_film(seed: int = 0, rows: int = 240, columns: int = 200) -> NDArray[np.float32]:
    """A smooth picture with structure at several scales."""
    rng = np.random.default_rng(seed)
    film = np.zeros((rows, columns))
    for cells in (4, 8, 16, 32):
        coarse = rng.random((cells, cells)) / np.sqrt(cells)
        row = np.arange(rows) * cells // rows
        column = np.arange(columns) * cells // columns
        film += coarse[np.ix_(row, column)]
    return np.asarray((film - film.min()) / np.ptp(film), dtype=np.float32)


def cropped(film: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """The film without unequal strips at its sides, up to `share` of each."""
    rows, columns = film.shape
    return film[round(rows * share) : rows - round(rows * share / 2), round(columns * share / 3) :]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05])
def test_copy_when_cropped_and_halved_is_recognised(share: float) -> None:
    film = a_film()
    copy = cropped(film, share)[::2, ::2]
    assert is_copy(thumbnail(film), thumbnail(copy))
    assert is_copy(thumbnail(copy), thumbnail(film))


def test_copy_when_relit_is_recognised() -> None:
    film = a_film()
    assert is_copy(thumbnail(film), thumbnail(film * np.float32(0.6) + np.float32(0.1)))


def test_other_film_when_compared_is_no_copy() -> None:
    assert not is_copy(thumbnail(a_film(0)), thumbnail(a_film(1)))


def test_mirrored_film_when_compared_is_no_copy() -> None:
    film = a_film()
    mirrored = np.ascontiguousarray(film[:, ::-1])
    assert registered_correlation(film, mirrored) < COPY_CORRELATION
    assert not is_copy(thumbnail(film), thumbnail(mirrored))


def test_flat_picture_when_compared_is_no_copy() -> None:
    flat = np.full((96, 80), 0.5, dtype=np.float32)
    assert not is_copy(thumbnail(flat), thumbnail(flat))


def test_inner_hashes_when_a_copy_is_cropped_come_near_it() -> None:
    film = a_film()
    hashed = perceptual_hash(cropped(film, 0.06))
    inner = min(hamming_distance(hashed, h) for h in inner_hashes(film))
    assert inner <= CANDIDATE_BITS
    assert inner < hamming_distance(hashed, perceptual_hash(film))


def test_thumbnail_when_made_keeps_shape_and_bounds() -> None:
    small = thumbnail(a_film(rows=480, columns=200))
    assert (small.rows, small.columns) == (SIDE_PX, 40)
    assert small.pixels().dtype == np.float32
    assert "redacted" in repr(small)


def test_thumbnail_when_its_bytes_do_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="rows times columns"):
        GreyThumbnail(2, 2, b"123")


@pytest.mark.parametrize("side_px", [200, 352, 479, 500])
def test_inner_parts_are_hashed_on_the_means_of_square_blocks(side_px: int) -> None:
    rng = np.random.default_rng(side_px)
    pixels = rng.random((side_px, side_px + 37), dtype=np.float32)
    step = max(1, side_px // HASHED_SIDE_PX)
    rows, columns = side_px // step, (side_px + 37) // step
    blocks = pixels[: rows * step, : columns * step].reshape(rows, step, columns, step)
    means = blocks.mean(axis=(1, 3), dtype=np.float32)
    away, across = round(rows * 0.04), round(columns * 0.04)
    inner = means[away : rows - away, across : columns - across]
    assert inner_hashes(pixels)[1] == perceptual_hash(inner)
