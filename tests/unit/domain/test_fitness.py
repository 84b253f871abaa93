"""What is refused before anything is compared, by the picture alone."""

import numpy as np
import pytest

from cds.domain.errors import CdsError, Reason
from cds.domain.fitness import neighbor_correlation, refuse_noise
from cds.domain.pixels import PixelFrame


def a_frame(pixels: np.ndarray) -> PixelFrame:
    return PixelFrame(pixels.astype(np.float32), "0" * 64)


def noise(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(300, 700))


def test_noise_is_refused_in_words():
    with pytest.raises(CdsError, match="noise") as refused:
        refuse_noise(a_frame(noise()))
    assert refused.value.reason is Reason.IMAGE_UNREADABLE


def test_film_like_picture_with_grain_passes():
    rows = np.sin(np.linspace(0, 9, 600))[:, None] * np.cos(np.linspace(0, 7, 500))
    refuse_noise(a_frame(np.clip(0.5 + 0.3 * rows + 0.05 * noise()[0, :500], 0, 1)))


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        pytest.param(np.full((80, 90), 0.4), 1.0, id="one-flat-tone"),
        pytest.param(np.indices((80, 80)).sum(axis=0) % 2, -1.0, id="chessboard"),
        pytest.param(noise(), 0.0, id="white-noise"),
    ],
)
def test_neighbor_correlation_of_known_pictures(pixels, expected):
    value = neighbor_correlation(pixels.astype(np.float32))
    assert value == pytest.approx(expected, abs=0.03)
