"""What a site adapter is worth on public collections: `python -m models.evaluation.adaptation`.

For each seed and fold one adapter is chosen and fitted on the training folds of all sources
together, as a hospital with one library would do it; queries are the held-out fold. The library is
the training folds of the query's source, or the rest of the held-out fold, which nothing was fitted
on. Writes JSON, and a table for `docs/adapt-to-your-site.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.adapter_selection import group_folds, inner_winner
from models.evaluation.fold_gains import gains, resampled
from models.evaluation.held_out import Answers, answered
from models.evaluation.shared_pictures import (
    SOURCES,
    FrozenEncoder,
    labelled_embeddings,
)
from models.labelled_vectors import LabelledVectors
from models.manifest import MODEL_FILE, PREPROCESSOR_FILE
from models.preprocessing import Preprocessing
from models.shipped import shipped_encoder
from models.site_adapter import CANDIDATES, IDENTITY, Candidate, fitted

N_SEEDS, N_FOLDS = 3, 5
LIBRARIES = ("training folds", "held-out fold")

Found = dict[tuple[str, int], list[tuple[Answers, Answers]]]


def main(argv: list[str] | None = None) -> int:
    """Measure every encoder and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder with data/ and weights/")
    parser.add_argument("--cache", type=Path, default=Path(".cache/adaptation"), help="of vectors")
    parser.add_argument("--out", type=Path, default=Path("adaptation.json"), help="JSON")
    parser.add_argument("--table", type=Path, help="Markdown page whose marked table is replaced")
    parser.add_argument("--encoder", choices=("frozen", "shipped"), action="append")
    arguments = parser.parse_args(argv)
    wanted = arguments.encoder or ["frozen", "shipped"]
    results = {}
    for encoder in encoders(arguments.shared):
        if encoder.name in wanted:
            labelled = labelled_embeddings(
                arguments.shared / "data", encoder, arguments.cache, told=_told
            )
            results[encoder.name] = evaluated(labelled, told=_told)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = table(results)
    _told(text)
    if arguments.table is not None:
        arguments.table.write_text(
            with_table(arguments.table.read_text("utf-8"), text), encoding="utf-8"
        )
    return 0


def encoders(shared: Path) -> tuple[FrozenEncoder, ...]:
    """Return the frozen ImageNet network and the shipped encoder."""
    folder = shipped_encoder()
    config = json.loads((folder / PREPROCESSOR_FILE).read_text("utf-8"))
    return (
        FrozenEncoder("frozen", shared / "weights" / "mobilenet_v2_imagenet.onnx", Preprocessing()),
        FrozenEncoder("shipped", folder / MODEL_FILE, Preprocessing.from_config(config)),
    )


def evaluated(
    labelled: LabelledVectors,
    *,
    n_seeds: int = N_SEEDS,
    n_folds: int = N_FOLDS,
    candidates: tuple[Candidate, ...] = CANDIDATES,
    told: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure one encoder before and after adaptation.

    Parameters
    ----------
    labelled
        Every picture of every source.
    n_seeds, n_folds
        Of the outer folds.
    candidates
        What the inner loop chooses from.
    told
        Told after each fold.

    Returns
    -------
    dict
        Plain values: what was chosen, and per library and source the measures before, after and
        paired; intervals resample patients, all seeds of a query together.

    """
    found: Found = {}
    chosen: dict[str, int] = {}
    for seed in range(n_seeds):
        folds = group_folds(labelled, n_folds, seed=seed)
        for fold in range(n_folds):
            library, queries = labelled.part(folds != fold), labelled.part(folds == fold)
            winner, _ = inner_winner(library, candidates, seed)
            chosen[winner.name] = chosen.get(winner.name, 0) + 1
            maps = [m for _, m in fitted(library, (Candidate(IDENTITY), winner), seed=seed)]
            for name, held in zip(LIBRARIES, (library, queries), strict=True):
                before, after = (answered(one, queries, held) for one in maps)
                for number, answers in before.items():
                    pair = (answers, after[number])
                    found.setdefault((name, number), []).append(pair)
            told(f"seed {seed}, fold {fold}: {winner.name}")
    return {"chosen": chosen, "measures": _measures(found)}


def _measures(found: Found) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for library in LIBRARIES:
        numbers = sorted(number for name, number in found if name == library)
        tables = {number: resampled(found[library, number]) for number in numbers}
        result[library] = {
            SOURCES[number].folder: _told_values(tables[number]) for number in numbers
        }
        mean = {
            measure: np.mean([tables[number][measure] for number in numbers], axis=0)
            for measure in tables[numbers[0]]
        }
        result[library]["mean of sources"] = _told_values(mean)
    return result


def _told_values(table: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    return {measure: asdict(gain) for measure, gain in gains(table).items()}


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown tables."""
    lines = []
    for encoder, result in results.items():
        for library, sources in result["measures"].items():
            lines += [
                f"**{encoder}, library = {library}**",
                "",
                "| source | P@1 before | after | gain (95 %) | P@5 gain (95 %) | AUROC |",
                "|---|---|---|---|---|---|",
            ]
            for source, values in sources.items():
                first, fifth, area = (values[name] for name in ("P@1", "P@5", "AUROC"))
                lines.append(
                    f"| {source} | {first['before']['value']:.3f} | "
                    f"{first['after']['value']:.3f} | "
                    f"{_signed(first['gain'])} | {_signed(fifth['gain'])} | "
                    f"{area['before']['value']:.3f} -> {area['after']['value']:.3f} |"
                )
            lines.append("")
        times = ", ".join(f"{name} {n}" for name, n in sorted(result["chosen"].items()))
        lines += [f"Chosen ({encoder}; times of 15): {times}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def with_table(page: str, text: str) -> str:
    """Put the tables between the marks of a page.

    Raises
    ------
    ValueError
        If the page has no marks.

    """
    start, end = "<!-- adaptation: start -->\n", "<!-- adaptation: end -->"
    if start not in page or end not in page:
        raise ValueError("the page lacks the marks of the table")
    return page[: page.index(start) + len(start)] + text + page[page.index(end) :]


def _signed(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:+.3f} ({estimate['low']:+.3f} to {estimate['high']:+.3f})"


def _told(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
