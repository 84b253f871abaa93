"""Three questions to a heat map: does masking matter, and where does its peak lie."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.picture_geometry import PictureGeometry
from models.similarity_map import hottest, map_on_picture, pair_contributions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.evaluation.heat_map_pairs import (
        BoxedPicture,
        FindingPair,
        MatchedPair,
        SeenPicture,
        SquareEncoder,
    )

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MASKED_SHARE = 0.1
N_RANDOM = 10
BLUR_SIDE_PX = 65
BEYOND, PLAIN = "beyond the library's mean", "plain"
ALL = "all"


def masking(
    encoder: SquareEncoder, pairs: Sequence[MatchedPair], *, masks: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Mask the hottest tenth of one picture, or a random tenth of the same layout.

    The random tenth is the hottest one, moved around within the picture (what leaves at one side
    comes in at the other). The loss is that of the cosine similarity to the other picture.

    Parameters
    ----------
    encoder
        Embeds the masked squares.
    pairs
        Of two patients.
    masks
        Keys of `_FILLS`.
    seed
        Draws the moves.

    Returns
    -------
    list of dict
        A row per map, mask and side.

    """
    losses: dict[tuple[str, str, str], list[Float64Array]] = defaultdict(list)
    rng = np.random.default_rng(seed)
    for pair in pairs:
        for name, expected in ((BEYOND, pair.expected), (PLAIN, None)):
            parts = pair_contributions(pair.query.places, pair.case.places, expected=expected)
            sides = (("query", pair.query, pair.case), ("case", pair.case, pair.query))
            for side, masked, other in sides:
                places = _moved_masks(getattr(parts, side), masked, rng)
                for mask in masks:
                    squares = [_filled(masked.grey, place, mask) for place in places]
                    vectors = [p.sum(axis=(1, 2)) for p in encoder.places(squares)]
                    before = float(masked.embedding @ other.embedding)
                    losses[name, mask, side].append(before - np.stack(vectors) @ other.embedding)
    return [_loss_row(*key, np.stack(found)) for key, found in losses.items()]


def shared_findings(encoder: SquareEncoder, pairs: Sequence[FindingPair]) -> list[dict[str, Any]]:
    """Tell how often the peak lies on a finding that both films share, and without it.

    The library's mean is taken over the films of all other pairs, half of which show a finding.
    """
    seen = [
        (encoder.seen([film.path for film in pair.with_it]), encoder.seen(pair.without_it))
        for pair in pairs
    ]
    sums = [np.sum([one.places for films in entry for one in films], axis=0) for entry in seen]
    total = np.sum(sums, axis=0)
    rows: dict[tuple[str, str], list[tuple[bool, bool, bool, float]]] = defaultdict(list)
    for pair, (with_it, without), own in zip(pairs, seen, sums, strict=True):
        others_mean = (total - own) / (4 * (len(pairs) - 1))
        for name, expected in ((BEYOND, others_mean), (PLAIN, None)):
            for film in (0, 1):
                case = with_it[1 - film]
                found = _with_and_without(with_it[film], without[film], case, expected)
                entry = _hits(found, pair.with_it[film])
                rows[name, ALL].append(entry)
                rows[name, pair.finding].append(entry)
    return [_hit_row(name, finding, found) for (name, finding), found in rows.items()]


def lesion_boxes(encoder: SquareEncoder, pictures: Sequence[BoxedPicture]) -> list[dict[str, Any]]:
    """Tell how often the peak lies in a radiologist's box, with the nearest other picture."""
    seen = encoder.seen([picture.path for picture in pictures])
    embeddings = np.stack([one.embedding for one in seen])
    expected = np.mean([one.places for one in seen], axis=0)
    similarities = embeddings @ embeddings.T
    np.fill_diagonal(similarities, -np.inf)
    rows: dict[str, list[tuple[bool, bool, bool, float]]] = defaultdict(list)
    for i, nearest in enumerate(similarities.argmax(axis=1)):
        for name, mean in ((BEYOND, expected), (PLAIN, None)):
            heat = _heat(seen[i], seen[nearest], mean)
            rows[name].append(_hits((heat, heat, heat), pictures[i]))
    return [_hit_row(name, ALL, found) for name, found in rows.items()]


def _heat(query: SeenPicture, case: SeenPicture, expected: Float64Array | None) -> Float64Array:
    parts = pair_contributions(query.places, case.places, expected=expected)
    return map_on_picture(parts.query, query.geometry)


def _with_and_without(
    with_it: SeenPicture, without: SeenPicture, case: SeenPicture, expected: Float64Array | None
) -> tuple[Float64Array, Float64Array, Float64Array]:
    heat, control = _heat(with_it, case, expected), _heat(without, case, expected)
    return heat, control, heat - control


def _hits(maps: tuple[Float64Array, ...], picture: BoxedPicture) -> tuple[bool, bool, bool, float]:
    """Tell for three maps whether the peak lies in a box; and the boxes' share of the picture."""
    inside = _inside(maps[0].shape, picture)
    one, two, three = (bool(inside.ravel()[np.nanargmax(heat)]) for heat in maps)
    return one, two, three, float(inside.mean())


def _inside(shape: tuple[int, ...], picture: BoxedPicture) -> BoolArray:
    inside = np.zeros(shape, dtype=bool)
    for left, top, right, bottom in picture.boxes:
        rows = slice(round(top * shape[0]), round(bottom * shape[0]))
        inside[rows, round(left * shape[1]) : round(right * shape[1])] = True
    return inside


def _hit_row(
    name: str, finding: str, found: list[tuple[bool, bool, bool, float]]
) -> dict[str, Any]:
    hit, without, difference, area = (float(value) for value in np.mean(found, axis=0))
    return {
        "map": name,
        "name": finding,
        "n": len(found),
        "hit_rate": hit,
        "area_share": area,
        "ratio": hit / area,
        "hit_rate_without": without,
        "hit_rate_difference": difference,
    }


def _moved_masks(
    contributions: Float64Array, picture: SeenPicture, rng: np.random.Generator
) -> list[BoolArray]:
    """Return the hottest tenth of the square's content, then moved copies of it."""
    content = picture.geometry.content
    rows, columns = picture.geometry.resized_shape
    size = picture.geometry.size_px
    whole = PictureGeometry((size, size), slice(0, size), slice(0, size), (size, size), size)
    square = map_on_picture(contributions, whole)
    chosen = hottest(square[content], MASKED_SHARE)
    moves = [(0, 0)]
    moves += [(int(rng.integers(rows)), int(rng.integers(columns))) for _ in range(N_RANDOM)]
    masks = []
    for move in moves:
        mask = np.zeros(square.shape, dtype=bool)
        mask[content] = np.roll(chosen, move, axis=(0, 1))
        masks.append(mask)
    return masks


def _loss_row(name: str, mask: str, side: str, losses: Float64Array) -> dict[str, Any]:
    hot, random = losses[:, 0], losses[:, 1:]
    return {
        "map": name,
        "mask": mask,
        "side": side,
        "n": len(hot),
        "n_more": int((hot > random[:, 0]).sum()),
        "n_more_than_mean": int((hot > random.mean(axis=1)).sum()),
        "hottest": float(np.median(hot)),
        "random": float(np.median(random)),
    }


def _filled(grey: Float32Array, mask: BoolArray, fill: str) -> Float32Array:
    return np.where(mask, _FILLS[fill](grey), grey).astype(np.float32)


def _local_mean(grey: Float32Array) -> Float32Array:
    """Return the mean over a window around each pixel, cut off at the square's edge."""
    return _box_sums(grey) / _box_sums(np.ones_like(grey))


def _box_sums(grey: Float32Array) -> Float32Array:
    reach = BLUR_SIDE_PX // 2
    summed = grey.astype(np.float64)
    for axis in (0, 1):
        ends = np.insert(np.cumsum(summed, axis=axis), 0, 0.0, axis=axis)
        n = grey.shape[axis]
        high = np.minimum(np.arange(n) + reach + 1, n)
        low = np.maximum(np.arange(n) - reach, 0)
        summed = np.take(ends, high, axis=axis) - np.take(ends, low, axis=axis)
    return summed.astype(np.float32)


def _mean(grey: Float32Array) -> Float32Array:
    return np.full_like(grey, grey.mean())


_FILLS: dict[str, Callable[[Float32Array], Float32Array]] = {
    "local mean": _local_mean,
    "picture mean": _mean,
    "black": np.zeros_like,
}
