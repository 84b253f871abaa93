"""Flip fifty bytes of a stored generation, again and again, and try to open it: a script.

It runs in a process of its own, because a damaged graph that reaches USearch crashes the process.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cds.adapters import generations  # noqa: E402
from cds.adapters.generations import COLUMNS, GRAPH, VECTORS, GenerationFolder  # noqa: E402
from cds.adapters.graph_building import build_graph  # noqa: E402
from cds.domain.errors import CdsError, Reason  # noqa: E402
from tests.builders.indexed_library import an_indexed_library  # noqa: E402

N_FLIPPED = 50


def main(folder: Path, n_trials: int) -> None:
    small = partial(build_graph, exact_up_to=10)  # a graph for a small library
    setattr(generations, "build_graph", small)  # noqa: B010  # another signature
    with an_indexed_library(folder, "") as indexed:
        indexed.add(range(200))
        passport = indexed.upkeep.build()
        assert passport.expansion_search is not None
        stored = indexed.index_folder / passport.generation_id
        rng = np.random.default_rng(0)
        caught = sum(
            flipped(stored / (GRAPH, VECTORS, COLUMNS)[trial % 3], indexed.generations, rng)
            for trial in range(n_trials)
        )
        is_sound = indexed.generations.open_current().passport == passport
    sys.stdout.write(
        json.dumps({"trials": n_trials, "caught": caught, "opened_when_sound": is_sound})
    )


def flipped(file: Path, folder: GenerationFolder, rng: np.random.Generator) -> bool:
    """Tell whether a flipped file was refused; it is whole again afterwards."""
    whole = file.read_bytes()
    damaged = bytearray(whole)
    for position in rng.integers(len(whole), size=N_FLIPPED):
        damaged[position] ^= 1 << int(rng.integers(8))
    file.write_bytes(damaged)
    try:
        folder.open_current()
    except CdsError as error:
        return error.reason is Reason.INDEX_UNAVAILABLE and damaged != whole
    else:
        return damaged == whole
    finally:
        file.write_bytes(whole)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
