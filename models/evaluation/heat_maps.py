"""How faithful the regions of a pair are: ``python -m models.evaluation.heat_maps``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.evaluation.heat_map_pairs import (
    SquareEncoder,
    lesion_pictures,
    matched_pairs,
    synthetic_pairs,
)
from models.evaluation.heat_map_tests import lesion_boxes, masking, shared_findings
from models.shipped import shipped_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED = 0
N_PAIRS = 100
MASKS = ("local mean", "picture mean", "black")


def evaluated(shared: Path, synthetic: Path | None, *, n_pairs: int = N_PAIRS) -> dict[str, Any]:
    """Run every test.

    Parameters
    ----------
    shared
        The folder that holds ``data``.
    synthetic
        What ``python -m sandbox.generator.finding_pairs`` wrote; None leaves that test out.
    n_pairs
        Pairs of the masking test.

    Returns
    -------
    dict
        JSON-compatible; one entry per test.

    """
    encoder = SquareEncoder.from_folder(shipped_encoder())
    results: dict[str, Any] = {"encoder": encoder.name, "seed": SEED}
    pairs = matched_pairs(encoder, shared / "data", n_pairs=n_pairs, seed=SEED)
    results["masking"] = masking(encoder, pairs, masks=MASKS, seed=SEED)
    if synthetic is not None:
        results["shared_findings"] = shared_findings(encoder, synthetic_pairs(synthetic))
    results["tuberculosis_boxes"] = lesion_boxes(encoder, lesion_pictures(shared / "data"))
    return results


def tables(results: dict[str, Any]) -> str:
    """Return the tables of ``docs/heat-maps.md``."""
    lines = [
        "| map | masked by | picture | pairs where the hottest tenth costs more than a random one "
        "| than the mean of ten random ones | median loss, hottest | median loss, random |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['map']} | {r['mask']} | {r['side']} | {r['n_more']} of {r['n']} "
        f"| {r['n_more_than_mean']} of {r['n']} | {r['hottest']:.3f} | {r['random']:.3f} |"
        for r in results["masking"]
    ]
    if "shared_findings" in results:
        lines += ["", *_hit_table(results["shared_findings"], "finding", with_control=True)]
    lines += ["", *_hit_table(results["tuberculosis_boxes"], "pictures", with_control=False)]
    return "\n".join(lines) + "\n"


def _hit_table(rows: list[dict[str, Any]], name: str, *, with_control: bool) -> list[str]:
    more = ("peak on that place without it", "peak of the difference on it") if with_control else ()
    heads = ["map", name, "n", "peak on it", "its share of the picture", "ratio", *more]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [row["map"], row["name"], row["n"], f"{row['hit_rate']:.2f}"]
        cells += [f"{row['area_share']:.3f}", f"{row['ratio']:.1f}"]
        if with_control:
            cells += [f"{row['hit_rate_without']:.2f}", f"{row['hit_rate_difference']:.2f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options, run the tests, write JSON, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m models.evaluation.heat_maps")
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds data/")
    parser.add_argument(
        "--synthetic", type=Path, help="folder of python -m sandbox.generator.finding_pairs"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--pairs", type=int, default=N_PAIRS)
    options = parser.parse_args(arguments)
    for folder in (options.shared / "data", options.synthetic):
        if folder is not None and not folder.is_dir():
            parser.error(f"there is no folder {folder}")
    results = evaluated(options.shared, options.synthetic, n_pairs=options.pairs)
    if options.out is not None:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(tables(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
