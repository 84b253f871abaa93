import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cds.domain.perceptual_hash import hamming_distance, perceptual_hash


def smooth(seed: int, rows: int = 96, columns: int = 80) -> NDArray[np.float32]:
    """A picture with structure at several scales, in [0, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    waves = sum(
        rng.normal() * np.cos(2 * np.pi * (rng.uniform(0, 4) * x + rng.uniform(0, 4) * y + p))
        for p in rng.uniform(0, 1, 12)
    )
    return np.asarray((waves - waves.min()) / np.ptp(waves), dtype=np.float32)


@given(seed=st.integers(0, 500))
def test_hash_when_contrast_and_size_change_stays_near(seed: int) -> None:
    picture = smooth(seed)
    darker = picture * np.float32(0.8) + np.float32(0.1)
    smaller = picture.reshape(48, 2, 40, 2).mean(axis=(1, 3))
    assert hamming_distance(perceptual_hash(picture), perceptual_hash(darker)) <= 12
    assert hamming_distance(perceptual_hash(picture), perceptual_hash(smaller)) <= 16


def test_hash_when_pictures_differ_is_far() -> None:
    hashes = [perceptual_hash(smooth(seed)) for seed in range(30)]
    distances = [hamming_distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 30
    assert 96 <= np.mean(distances) <= 144


def test_hash_when_picture_is_mirrored_is_far() -> None:
    picture = smooth(3)
    assert hamming_distance(perceptual_hash(picture), perceptual_hash(picture[:, ::-1])) > 48


def test_hash_when_picture_is_flat_has_only_the_bit_of_the_mean() -> None:
    assert perceptual_hash(np.full((50, 31), 0.37, np.float32)) == 2**255


@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (33, 2000)])
def test_hash_when_picture_has_any_size_is_a_256_bit_number(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    assert 0 <= perceptual_hash(noise) < 2**256


@pytest.mark.parametrize("shape", [(0, 4), (4,), (2, 2, 2)])
def test_hash_when_there_is_no_picture_raises(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rows and columns"):
        perceptual_hash(np.zeros(shape, np.float32))
