"""Trains the first shipped encoder (``python -m models.training.first_encoder --help``)."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from models.manifest import TrainingRows
from models.preprocessing import Preprocessing
from models.training.comparison import Comparison, Measures, refuse_loser
from models.training.export import Provenance, export_encoder
from models.training.features import embeddings_of, pooled_features, unit_rows
from models.training.labels import label_spaces
from models.training.mobilenet import RetrievalEncoder, pretrained_mobilenet
from models.training.rows import Row, grey_squares, permissive_rows
from models.training.splits import (
    groups_of,
    near_duplicate_pairs,
    refuse_leak,
    split_by_group,
)
from models.training.trainer import Recipe, TrainingSet, train

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """All usable pictures in memory.

    Attributes
    ----------
    rows
        Ordered by name.
    squares
        Shape ``(n, size, size)``, uint8.

    """

    rows: list[Row]
    squares: NDArray[np.uint8]


def load_pictures(data: Path, cache: Path, preprocessing: Preprocessing) -> Pictures:
    """Read and preprocess the permissive pictures; the preprocessed ones are kept in a cache.

    Parameters
    ----------
    data
        Holds one folder per source.
    cache
        A folder for ``<preprocessing hash>.npz``; made if missing.
    preprocessing
        The function that serving uses.

    Returns
    -------
    Pictures
        In memory.

    """
    rows = permissive_rows(data)
    cached = cache / f"{preprocessing.hash}.npz"
    names = np.array([row.name for row in rows])
    if cached.is_file():
        with np.load(cached, allow_pickle=False) as content:
            if np.array_equal(content["names"], names):
                return Pictures(rows, content["squares"])
    squares = grey_squares(rows, preprocessing)
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(cached, squares=squares, names=names)
    return Pictures(rows, squares)


def compared_sides(pictures: Pictures, *, seed: int, measure_on: str) -> Comparison:
    """Split by patient and near-duplicate group, and refuse a leak.

    Parameters
    ----------
    pictures
        All pictures.
    seed
        Of the split.
    measure_on
        ``validation`` while a recipe is chosen; ``test`` for the encoder that ships, which is then
        trained on the validation side too. The test side is never trained on.

    Returns
    -------
    Comparison
        Its library is the training side.

    """
    duplicates = near_duplicate_pairs(pictures.squares)
    groups = groups_of(pictures.rows, duplicates)
    split = split_by_group(pictures.rows, groups, seed=seed)
    refuse_leak(pictures.rows, (split.train, split.validation, split.test), duplicates)
    if measure_on == "validation":
        return Comparison(pictures.rows, groups, split.train, split.validation)
    both = np.union1d(split.train, split.validation)
    return Comparison(pictures.rows, groups, both, split.test)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure against the frozen start, refuse to export a loser, export.

    Parameters
    ----------
    arguments
        The command line without the program's name; by default the process's own.

    """
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    preprocessing = Preprocessing()
    recipe = Recipe(n_epochs=options.epochs, seed=options.seed)
    pictures = load_pictures(options.shared / "data", options.cache, preprocessing)
    sides = compared_sides(pictures, seed=options.seed, measure_on=options.measure_on)
    print(f"{len(sides.library)} pictures for training, {len(sides.queries)} held out", flush=True)

    network = pretrained_mobilenet(options.shared / "weights" / "mobilenet_v2_imagenet.onnx")
    encoder = RetrievalEncoder(network).to(memory_format=torch.channels_last).eval()
    frozen = unit_rows(pooled_features(network, pictures.squares, preprocessing))
    results = {"frozen": sides.measures(frozen)}
    _report("frozen", results["frozen"])
    began = time.monotonic()

    def after_epoch(epoch: int, loss: float, current: RetrievalEncoder) -> None:
        print(f"epoch {epoch}: loss {loss:.4f}, {time.monotonic() - began:.0f} s", flush=True)
        _write_checkpoint(current, options.cache / "checkpoint.npz")
        if epoch in (0, recipe.n_epochs):
            step = "trained" if epoch else "projection only"
            vectors = embeddings_of(current, pictures.squares, preprocessing)
            results[step] = sides.measures(vectors)
            _report(step, results[step])

    rows = [pictures.rows[index] for index in sides.library]
    training_set = TrainingSet(rows, pictures.squares[sides.library], label_spaces(rows))
    trained = train(encoder, training_set, preprocessing, recipe, after_epoch)
    _write_measures(options.cache / "measures.json", results)
    refuse_loser(results["trained"], results["frozen"])
    difference = export_encoder(
        trained.to(memory_format=torch.contiguous_format),
        preprocessing,
        options.out,
        Provenance(datetime.now(UTC).date().isoformat(), counted(rows)),
    )
    print(f"wrote {options.out}; torch and ONNX differ by {difference:.1e}")


def counted(rows: Sequence[Row]) -> tuple[TrainingRows, ...]:
    """Count pictures and patients per source and licence.

    Parameters
    ----------
    rows
        What was trained on.

    Returns
    -------
    tuple of TrainingRows
        Ordered by source, then licence.

    """
    members: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        members.setdefault((row.source, row.licence), []).append(row)
    return tuple(
        TrainingRows(source, len(group), len({row.patient for row in group}), licence)
        for (source, licence), group in sorted(members.items())
    )


def _parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description="Train the first shipped encoder.")
    parser.add_argument("--shared", type=Path, required=True, help="holds data/ and weights/")
    parser.add_argument("--out", type=Path, required=True, help="the encoder folder to write")
    parser.add_argument("--cache", type=Path, default=Path(".cache/first_encoder"))
    parser.add_argument("--epochs", type=int, default=Recipe().n_epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure-on", choices=("validation", "test"), default="test")
    return parser


def _write_checkpoint(encoder: RetrievalEncoder, path: Path) -> None:
    """Keep the weights of the last epoch, as arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: value.numpy() for name, value in encoder.state_dict().items()})


def _report(title: str, results: Measures) -> None:
    """Print one encoder's measures."""
    for place, values in results.items():
        line = ", ".join(f"{name} {estimate}" for name, estimate in values.items())
        print(f"{title}: {place}: {line}", flush=True)


def _write_measures(path: Path, results: dict[str, Measures]) -> None:
    """Keep the measures for the documents."""
    content = {
        title: {
            place: {name: dataclasses.asdict(estimate) for name, estimate in values.items()}
            for place, values in measures.items()
        }
        for title, measures in results.items()
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
