"""Pairs of films that share a finding, and each film without it.

``python -m sandbox.generator.finding_pairs --out DIR`` writes pictures and ``pairs.json``.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sandbox.generator.anatomy import draw_habitus
from sandbox.generator.library import eight_bit
from sandbox.generator.places import SignSpec
from sandbox.generator.thorax import FilmPlan, draw_plan, render

PAIRS_FILE = "pairs.json"
DEFAULT_SEED = 7
SIZE = 0.6
AGE_YEARS = 55
KINDS = (
    ("consolidation", "lower"),
    ("consolidation", "upper"),
    ("mass", "middle"),
    ("cavity", "upper"),
    ("effusion", ""),
    ("pneumothorax", ""),
)


@dataclass(frozen=True, slots=True)
class Film:
    """One thorax with a finding: the picture, the same thorax without it, and where it is.

    Attributes
    ----------
    box_px
        (first column, first row, last column, last row) of the finding, inclusive.

    """

    file: str
    file_without: str
    box_px: tuple[int, int, int, int]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON members."""
        return {"file": self.file, "without": self.file_without, "box_px": list(self.box_px)}


def write_pair(number: int, folder: Path, seed: int) -> dict[str, Any]:
    """Draw and write two people with the same finding on the same side, and both without it.

    Parameters
    ----------
    number
        0-based; decides the kind of finding.
    folder
        Exists.
    seed
        Decides everything else.

    Returns
    -------
    dict
        The entry of ``pairs.json``.

    """
    kind, place = KINDS[number % len(KINDS)]
    rng = np.random.default_rng((seed, number))
    side = "right" if rng.random() < 0.5 else "left"
    sign = SignSpec(kind, side, place, SIZE)
    films = [_write_film(sign, folder, (seed, number, person)) for person in (0, 1)]
    return {"finding": kind, "place": place, "side": side, "films": [f.to_json() for f in films]}


def _write_film(sign: SignSpec, folder: Path, seed: tuple[int, int, int]) -> Film:
    rng = np.random.default_rng(seed)
    sex = "male" if rng.random() < 0.5 else "female"
    habitus = draw_habitus(rng, sex=sex, age_years=AGE_YEARS)
    plan = draw_plan(rng, habitus, view="PA", signs=(sign,))
    _, number, person = seed
    names = [f"{number:03d}-{person}-{which}.png" for which in ("with", "without")]
    box = _write_picture(plan, folder / names[0], seed, sign.kind)
    _write_picture(replace(plan, signs=()), folder / names[1], seed, sign.kind)
    if box is None:
        raise ValueError(f"{sign.kind} left no trace")
    return Film(names[0], names[1], box)


def _write_picture(
    plan: FilmPlan, path: Path, seed: tuple[int, int, int], kind: str
) -> tuple[int, int, int, int] | None:
    """Write a film and return where the finding was drawn, None if it was not."""
    film = render(plan, np.random.default_rng((*seed, 1)))
    Image.fromarray(eight_bit(film.stored_pixels)).save(path, compress_level=1)
    return next((sign.box_px for sign in film.signs if sign.sign == kind), None)


def main() -> None:
    """Write the pairs into a folder."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.generator.finding_pairs")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    draw = partial(write_pair, folder=options.out, seed=options.seed)
    with ProcessPoolExecutor(options.processes) as crew:
        pairs = list(crew.map(draw, range(options.pairs)))
    (options.out / PAIRS_FILE).write_text(json.dumps(pairs, indent=1) + "\n", encoding="utf-8")
    print(f"{len(pairs)} pairs, {4 * len(pairs)} pictures.")


if __name__ == "__main__":
    main()
