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
from torch.nn import functional

from models.evaluation.within_source import RetrievalTask, measured
from models.manifest import TrainingRows
from models.preprocessing import Preprocessing
from models.training.export import Provenance, export_encoder
from models.training.labels import label_spaces
from models.training.mobilenet import MobileNetV2, RetrievalEncoder, pretrained_mobilenet
from models.training.rows import KERMANY, NIH, UINT8_MAX, Row, grey_squares, permissive_rows
from models.training.splits import (
    Split,
    groups_of,
    near_duplicate_pairs,
    refuse_leak,
    split_by_group,
)
from models.training.trainer import Recipe, TrainingSet, normalised, train

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.evaluation.within_source import Estimate

_BATCH_SIZE = 64
_BOOTSTRAP_SEED = 7

# The classes that are measured, per source; a row with none of them is left out.
TASKS = {
    NIH: ("No Finding", "Pneumonia"),
    KERMANY: ("No Finding", "Bacterial pneumonia", "Viral pneumonia"),
}

Measures = dict[str, dict[str, "Estimate"]]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """All usable pictures in memory.

    Attributes
    ----------
    rows
        Ordered by name.
    squares
        Shape ``(n, size, size)``, uint8.
    groups
        Shape ``(n,)``; patient and near-duplicate group.

    """

    rows: list[Row]
    squares: NDArray[np.uint8]
    groups: NDArray[np.intp]


def load_pictures(data: Path, cache: Path, preprocessing: Preprocessing) -> Pictures:
    """Read, preprocess and group the permissive pictures; preprocessed ones are kept in a cache.

    Parameters
    ----------
    data
        Holds one folder per source.
    cache
        A folder for ``<hash>.npz``; made if missing.
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
    squares = _cached_squares(cached, names)
    if squares is None:
        squares = grey_squares(rows, preprocessing)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(cached, squares=squares, names=names)
    return Pictures(rows, squares, groups_of(rows, near_duplicate_pairs(squares)))


def embedded(
    features: Callable[[torch.Tensor], torch.Tensor],
    squares: NDArray[np.uint8],
    preprocessing: Preprocessing,
) -> NDArray[np.float32]:
    """Run a network over preprocessed pictures and scale to unit norm.

    Parameters
    ----------
    features
        Maps ``(n, channels, h, w)`` to ``(n, d)``.
    squares
        Shape ``(n, h, w)``, uint8.
    preprocessing
        Gives the normalisation.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, d)``, float32, unit norm.

    """
    parts = []
    with torch.no_grad():
        for start in range(0, len(squares), _BATCH_SIZE):
            grey = torch.from_numpy(squares[start : start + _BATCH_SIZE]).float().div(UINT8_MAX)
            parts.append(functional.normalize(features(normalised(grey[:, None], preprocessing))))
    vectors: NDArray[np.float32] = torch.cat(parts).numpy()
    return vectors


def pooled(network: MobileNetV2) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the frozen baseline: the mean of the last feature map."""
    return lambda images: network(images).mean(dim=(2, 3))


def measure(
    vectors: NDArray[np.float32],
    pictures: Pictures,
    library: NDArray[np.intp],
    queries: NDArray[np.intp],
) -> Measures:
    """Measure retrieval within each source that has a task.

    Parameters
    ----------
    vectors
        Shape ``(n, d)``, unit norm, one per picture.
    pictures
        All pictures.
    library, queries
        Indices of the two sides.

    Returns
    -------
    dict
        Source to measure to estimate.

    """
    results: Measures = {}
    for source, classes in TASKS.items():
        sides = [
            np.array([i for i in side if _class_of(pictures.rows[i], source, classes) is not None])
            for side in (queries, library)
        ]
        found = [
            np.array([_class_of(pictures.rows[i], source, classes) for i in side]) for side in sides
        ]
        task = RetrievalTask(found[0], found[1], pictures.groups[sides[0]])
        results[source] = measured(vectors[sides[0]], vectors[sides[1]], task, seed=_BOOTSTRAP_SEED)
    return results


def start_projection(encoder: RetrievalEncoder, features: NDArray[np.float32]) -> None:
    """Set the projection to the principal axes of frozen features, centred.

    Parameters
    ----------
    encoder
        Changed in place.
    features
        Shape ``(n, 1280)``, pooled features of training pictures.

    """
    centre = features.mean(axis=0)
    _, _, axes = np.linalg.svd(features - centre, full_matrices=False)
    weight = np.zeros(encoder.projection.weight.shape[:2], dtype=np.float32)
    weight[: len(axes)] = axes[: len(weight)]
    with torch.no_grad():
        encoder.projection.weight.copy_(torch.from_numpy(weight)[:, :, None, None])
        encoder.projection.bias.copy_(torch.from_numpy(-weight @ centre))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure against the frozen start, refuse to ship a loser, export."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    preprocessing = Preprocessing()
    recipe = Recipe(n_epochs=options.epochs, seed=options.seed)
    pictures = load_pictures(options.shared / "data", options.cache, preprocessing)
    split = split_by_group(pictures.rows, pictures.groups, seed=options.seed)
    duplicates = near_duplicate_pairs(pictures.squares)
    refuse_leak(pictures.rows, (split.train, split.validation, split.test), duplicates)
    train_side, query_side = _sides(split, options.measure_on)
    print(
        f"{len(pictures.rows)} pictures, {len(train_side)} for training, {len(query_side)} held out"
    )

    network = pretrained_mobilenet(options.shared / "weights" / "mobilenet_v2_imagenet.onnx")
    frozen = embedded(pooled(network.eval()), pictures.squares, preprocessing)
    baseline = measure(frozen, pictures, train_side, query_side)
    _report("frozen MobileNetV2, 1280", baseline)
    encoder = RetrievalEncoder(network)
    start_projection(encoder, _raw_features(network, pictures.squares[train_side], preprocessing))
    encoder = encoder.to(memory_format=torch.channels_last)
    started = embedded(lambda x: encoder(x)[0], pictures.squares, preprocessing)
    projected = measure(started, pictures, train_side, query_side)
    _report("frozen MobileNetV2, 256 principal axes", projected)

    rows = [pictures.rows[index] for index in train_side]
    training_set = TrainingSet(rows, pictures.squares[train_side], label_spaces(rows))
    began = time.monotonic()

    def after_epoch(epoch: int, loss: float, current: RetrievalEncoder) -> None:
        print(f"epoch {epoch}: loss {loss:.4f}, {time.monotonic() - began:.0f} s", flush=True)
        _write_checkpoint(current, options.cache / "checkpoint.npz")
        if options.measure_every and epoch % options.measure_every == 0:
            vectors = embedded(lambda x: current(x)[0], pictures.squares, preprocessing)
            _report(f"after epoch {epoch}", measure(vectors, pictures, train_side, query_side))

    trained = train(encoder, training_set, preprocessing, recipe, after_epoch)
    vectors = embedded(lambda x: trained(x)[0], pictures.squares, preprocessing)
    result = measure(vectors, pictures, train_side, query_side)
    _report("trained, 256", result)
    _refuse_loser(result, baseline)
    provenance = Provenance(datetime.now(UTC).date().isoformat(), _training_rows(rows))
    difference = export_encoder(
        trained.to(memory_format=torch.contiguous_format), preprocessing, options.out, provenance
    )
    print(f"wrote {options.out}; torch and ONNX differ by {difference:.1e}")
    _write_measures(options.cache / "measures.json", baseline, projected, result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train the first shipped encoder.")
    parser.add_argument("--shared", type=Path, required=True, help="holds data/ and weights/")
    parser.add_argument("--out", type=Path, required=True, help="the encoder folder to write")
    parser.add_argument("--cache", type=Path, default=Path(".cache/first_encoder"))
    parser.add_argument("--epochs", type=int, default=Recipe().n_epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure-on", choices=("validation", "test"), default="test")
    parser.add_argument("--measure-every", type=int, default=0)
    return parser


def _sides(split: Split, measure_on: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Choose what is trained on and what is held out; the test side is never trained on."""
    if measure_on == "validation":
        return split.train, split.validation
    return np.union1d(split.train, split.validation), split.test


def _class_of(row: Row, source: str, classes: Sequence[str]) -> int | None:
    """Return the class index of a row of this source."""
    if row.source != source:
        return None
    return next((number for number, name in enumerate(classes) if name in row.labels), None)


def _raw_features(
    network: MobileNetV2, squares: NDArray[np.uint8], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Pooled features without unit norm, of training pictures."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(squares), _BATCH_SIZE):
            grey = torch.from_numpy(squares[start : start + _BATCH_SIZE]).float().div(UINT8_MAX)
            parts.append(pooled(network)(normalised(grey[:, None], preprocessing)))
    features: NDArray[np.float32] = torch.cat(parts).numpy()
    return features


def _cached_squares(cached: Path, names: NDArray[np.str_]) -> NDArray[np.uint8] | None:
    """Return the cached pictures if they are of exactly these rows."""
    if not cached.is_file():
        return None
    with np.load(cached, allow_pickle=False) as content:
        if not np.array_equal(content["names"], names):
            return None
        squares: NDArray[np.uint8] = content["squares"]
    return squares


def _write_checkpoint(encoder: RetrievalEncoder, path: Path) -> None:
    """Keep the weights of the last epoch, as arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: value.numpy() for name, value in encoder.state_dict().items()})


def _report(title: str, results: Measures) -> None:
    """Print one encoder's measures."""
    for source, values in results.items():
        line = ", ".join(f"{name} {estimate}" for name, estimate in values.items())
        print(f"{title}: {source}: {line}", flush=True)


def _refuse_loser(result: Measures, baseline: Measures) -> None:
    """Raise where training made a source worse than the frozen start."""
    for source, values in result.items():
        for name in ("P@1", "P@5"):
            if values[name].value < baseline[source][name].value:
                raise SystemExit(f"not exported: {name} within {source} is below the frozen start")


def _training_rows(rows: Sequence[Row]) -> tuple[TrainingRows, ...]:
    """Count pictures and patients per source and licence."""
    keys = sorted({(row.source, row.licence) for row in rows})
    return tuple(
        TrainingRows(
            source=source,
            n_pictures=sum((row.source, row.licence) == (source, licence) for row in rows),
            n_patients=len({r.patient for r in rows if (r.source, r.licence) == (source, licence)}),
            licence=licence,
        )
        for source, licence in keys
    )


def _write_measures(path: Path, *results: Measures) -> None:
    """Keep the measures for the documents."""
    content = [
        {
            source: {name: dataclasses.asdict(e) for name, e in values.items()}
            for source, values in r.items()
        }
        for r in results
    ]
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
