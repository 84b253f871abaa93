"""`python -m bench.embedding`: what the embedder adds to the bare ONNX session, in one run."""

from __future__ import annotations

import statistics
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.measure import Ratio, in_turn, median_ratio
from cds.domain.pixels import PixelFrame
from models.embedder import EMBEDDING_OUTPUT, FEATURE_MAP_OUTPUT, INPUT_NAME, OnnxImageEmbedder
from models.manifest import MODEL_FILE
from models.runtime import open_session
from models.shipped import shipped_encoder

TARGET = "<= 1.1"
ROUNDS = 60
# A computed radiograph's usual size.
ROWS, COLUMNS = 2048, 2048


class StoredInput:
    """Stands where the preprocessing stands and hands out one stored input."""

    def __init__(self, image: NDArray[np.float32]) -> None:
        self._image = image

    def __call__(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the stored input, whatever the pixels."""
        del pixels
        return self._image


def a_frame() -> PixelFrame:
    """Make grey values of a radiograph's size."""
    generator = np.random.default_rng(20261120)
    coarse = generator.uniform(0.1, 0.9, (ROWS // 64, COLUMNS // 64))
    pixels = coarse.repeat(64, axis=0).repeat(64, axis=1)
    noisy = np.clip(pixels + generator.normal(scale=0.02, size=pixels.shape), 0.0, 1.0)
    return PixelFrame(noisy.astype(np.float32), content_sha256="0" * 64)


def run(rounds: int = ROUNDS) -> list[Ratio]:
    """Compare the shipped embedder with its own graph on a batch of one."""
    folder = shipped_encoder()
    embedder = OnnxImageEmbedder.from_folder(folder)
    session = open_session((folder / MODEL_FILE).read_bytes())
    frame = a_frame()
    image = embedder.preprocessing(frame.pixels)
    without_preprocessing = OnnxImageEmbedder(
        session,
        StoredInput(image),
        encoder_name=embedder.encoder_name,
        encoder_hash=embedder.encoder_hash,
        dimension=embedder.dimension,
    )

    def bare_session() -> object:
        return session.run([EMBEDDING_OUTPUT, FEATURE_MAP_OUTPUT], {INPUT_NAME: image[None]})

    contenders = (
        ("embedding: embedder against the bare session", without_preprocessing, TARGET),
        (f"embedding: the same with preprocessing of {ROWS} x {COLUMNS}", embedder, None),
    )
    ratios = []
    for what, contender, target in contenders:
        ours, peer = in_turn(partial(contender.embed, [frame]), bare_session, rounds=rounds)
        ours_ms, peer_ms = (1000.0 * statistics.median(times) for times in (ours, peer))
        ratios.append(Ratio(what, median_ratio(ours, peer), ours_ms, peer_ms, "ms", target))
    return ratios


if __name__ == "__main__":
    for ratio in run():
        print(ratio.line())
