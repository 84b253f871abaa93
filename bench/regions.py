"""`python -m bench.regions`: a pair of region pictures against embedding its two pictures."""

from __future__ import annotations

import statistics
from functools import partial
from types import SimpleNamespace
from typing import Any

from bench.embedding import COLUMNS, ROWS, a_frame
from bench.measure import Ratio, in_turn, median_ratio
from cds.engine.similarity_maps import SimilarityMaps
from cds.library.picture_preparation import from_png, to_png
from models.embedder import OnnxImageEmbedder
from models.shipped import shipped_encoder

ROUNDS = 15


def run(rounds: int = ROUNDS) -> list[Ratio]:
    """Compare drawing both pictures, up to the PNG that is sent, with embedding them alone.

    Reading the record, fetching the film and the library's mean are not part of it: the first two
    are the peers' time, the last is worked out once after a start.
    """
    embedder = OnnxImageEmbedder.from_folder(shipped_encoder())
    generation: Any = SimpleNamespace(adapter=None, passport=SimpleNamespace(generation_id="bench"))
    no_blobs: Any = None
    no_cases: Any = SimpleNamespace(iter_cases=lambda: iter(()))
    maps = SimilarityMaps(lambda: (embedder, generation), no_cases, no_blobs)
    query = a_frame()
    case_png = to_png(query)[2]

    def pair() -> bytes:
        return maps.of_pair(query, case_png, ehr_id="bench").png

    ours, peer = in_turn(pair, partial(embedder.embed, [query, from_png(case_png)]), rounds=rounds)
    ours_ms, peer_ms = (1000.0 * statistics.median(times) for times in (ours, peer))
    what = f"regions: a pair, film of {ROWS} x {COLUMNS}, against embedding"
    return [Ratio(what, median_ratio(ours, peer), ours_ms, peer_ms, "ms")]


if __name__ == "__main__":
    for ratio in run():
        print(ratio.line())
