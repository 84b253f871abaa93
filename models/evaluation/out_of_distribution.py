"""What the gate and the similarity limit refuse, per kind of picture: the table of the docs page.

``python -m models.evaluation.out_of_distribution --shared ../shared``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cds.domain.errors import CdsError
from cds.domain.fitness import NOISE_CORRELATION, neighbor_correlation
from cds.domain.picture_gate import PictureGate
from cds.domain.pixels import PixelFrame
from cds.domain.similarity_limits import PictureGroup
from models.collection_files import UINT8_MAX, grey_pixels, table_rows
from models.embedder import OnnxImageEmbedder
from models.out_of_distribution import fit_gate
from models.shipped import shipped_encoder

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]

LIBRARY = ("nih_chestxray14_subset", "kaggle4_cxr", "hannover_covid")
CHILDREN = "kaggle4_cxr"
OTHER_MODALITIES = {
    "brain MR": "brain_mri",
    "chest CT (cancer)": "chest_ct_cancer",
    "chest CT (COVID-19 figures)": "covid_ct",
    "breast ultrasound": "busi_ultrasound",
}
OTHER_CHEST_FILMS = {
    "chest films of covid-chestxray-dataset": "covid_chestxray",
    "chest films of TBX11K": "tbx11k_tb",
}
OPEN_I = "openi_hello_world"
PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel"),
    *("motorcycle_left", "retina", "rocket"),
)
HELD_OUT_SHARE = 0.3
LIMIT_SHARE = 0.025  # `cds.library.limit_estimation.SHARE_BESIDE_GATE`; asserted by a test
MIN_LIMIT_PATIENTS = 40
N_MADE = 100
MAX_PER_KIND = 300
UNREADABLE = np.inf  # refused before there is a vector: farther than anything
PAGE = Path(__file__).parents[2] / "docs" / "out-of-distribution.md"
MARK = "<!-- the table below is written by python -m models.evaluation.out_of_distribution -->"


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Pictures of one kind: vectors ``(n, d)``, NaN where the product refused the picture itself.

    Attributes
    ----------
    patients, sides
        Shape ``(n,)``: a name per patient, and the view (PA or AP) where recorded.

    """

    vectors: Float32Array
    patients: NDArray[np.str_]
    sides: NDArray[np.str_]

    def part(self, kept: NDArray[np.bool_]) -> Embedded:
        """Return some of the pictures."""
        return Embedded(self.vectors[kept], self.patients[kept], self.sides[kept])


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """Gate and limits of one library, as the index holds them."""

    gate: PictureGate
    library: Float32Array
    collections: NDArray[np.str_]
    limits: dict[str, float]

    def strangeness(self, vectors: Float32Array) -> FloatArray:
        """Return the share of the gate's limit that each vector uses, infinite if unreadable."""
        shares = np.full(vectors.shape[0], UNREADABLE)
        readable = np.isfinite(vectors).all(axis=1)
        limits = np.array([one.limit for one in self.gate.classes])
        shares[readable] = (self.gate.distances(vectors[readable]) / limits).min(axis=1)
        return shares

    def refused_by_limit(self, vectors: Float32Array) -> NDArray[np.bool_]:
        """Return which vectors reach no collection's similarity limit."""
        passed = np.zeros(vectors.shape[0], dtype=np.bool_)
        for name, limit in self.limits.items():
            similarities = vectors @ self.library[self.collections == name].T
            passed |= similarities.max(axis=1) >= limit
        return ~passed


@dataclass(frozen=True, slots=True)
class KindResult:
    """One row of the table."""

    kind: str
    n: int
    auroc: float
    refused: float
    by_gate: float
    by_limit: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and write it to the docs page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder with data/")
    parser.add_argument("--seeds", type=int, default=3, help="splits by patient (default: 3)")
    chosen = parser.parse_args(arguments)
    data = chosen.shared / "data"
    if not data.is_dir():
        sys.stderr.write(f"There is no folder {data}.\n")
        return 2
    table = table_text(measured(data, n_seeds=chosen.seeds))
    sys.stdout.write(table)
    if PAGE.is_file():
        before = PAGE.read_text("utf-8").partition(MARK)[0]
        PAGE.write_text(f"{before}{MARK}\n\n{table}", "utf-8")
    return 0


def measured(data: Path, *, n_seeds: int) -> dict[str, list[KindResult]]:
    """Measure every kind on several splits of the library, by patient; results per library."""
    embedder = OnnxImageEmbedder.from_folder(shipped_encoder())
    sources = {name: from_source(embedder, data, name) for name in LIBRARY}
    strange = dict(strange_kinds(embedder, data))
    others = {
        kind: from_source(embedder, data, name, most=MAX_PER_KIND)
        for kind, name in OTHER_CHEST_FILMS.items()
    }
    adults = {name: held for name, held in sources.items() if name != CHILDREN}
    return {
        "Library: adults and children": averaged(sources, strange | others, n_seeds),
        "Library: adults only": averaged(adults, {"paediatric": sources[CHILDREN]}, n_seeds),
    }


def averaged(
    sources: dict[str, Embedded], kinds: dict[str, Embedded], n_seeds: int
) -> list[KindResult]:
    """Return the means over the splits, worst AUROC first, the held-out films as the first row."""
    runs = [_one_split(sources, kinds, seed) for seed in range(n_seeds)]
    rows = []
    for same in zip(*runs, strict=True):
        figures = np.mean(
            [(r.auroc, r.refused, r.by_gate, r.by_limit) for r in same], axis=0
        ).tolist()
        rows.append(KindResult(same[0].kind, same[0].n, *figures))
    known = [row for row in rows if np.isnan(row.auroc)]
    return known + sorted((r for r in rows if not np.isnan(r.auroc)), key=lambda r: r.auroc)


def _one_split(
    sources: dict[str, Embedded], kinds: dict[str, Embedded], seed: int
) -> list[KindResult]:
    rng = np.random.default_rng(seed)
    library, held_out = {}, {}
    for name, pictures in sources.items():
        whose = np.unique(pictures.patients)
        out = rng.permutation(whose)[: round(HELD_OUT_SHARE * whose.size)]
        is_out = np.isin(pictures.patients, out)
        library[name], held_out[name] = pictures.part(~is_out), pictures.part(is_out)
    judge = judge_of(library)
    own = np.concatenate([held.vectors for held in held_out.values()])
    known = judge.strangeness(own)
    rows = [_result("held-out films, all", judge, own, None)]
    rows += [_result(f"held-out films, {n}", judge, h.vectors, None) for n, h in held_out.items()]
    return rows + [_result(kind, judge, p.vectors, known) for kind, p in kinds.items()]


def _result(kind: str, judge: Judge, vectors: Float32Array, known: FloatArray | None) -> KindResult:
    from sklearn.metrics import roc_auc_score

    shares = judge.strangeness(vectors)
    by_gate = shares > 1.0
    by_limit = by_gate.copy()
    readable = np.isfinite(shares)
    by_limit[readable] = judge.refused_by_limit(vectors[readable])
    auroc = float("nan")
    if known is not None:
        truth = np.concatenate([np.zeros(known.size), np.ones(shares.size)])
        values = np.concatenate([known, shares])
        auroc = float(roc_auc_score(truth, np.minimum(values, np.finfo(np.float64).max)))
    return KindResult(
        kind,
        shares.size,
        auroc,
        float((by_gate | by_limit).mean()),
        float(by_gate.mean()),
        float(by_limit.mean()),
    )


def judge_of(library: dict[str, Embedded]) -> Judge:
    """Learn gate and limits from a library's pictures, one collection per source."""
    names = np.concatenate([np.full(p.patients.size, name) for name, p in library.items()])
    vectors = np.concatenate([p.vectors for p in library.values()])
    patients = np.concatenate([p.patients for p in library.values()])
    groups = [
        PictureGroup("radiograph", "CHEST", "", "child" if name == CHILDREN else "adult", name)
        for name in names.tolist()
    ]
    gate = fit_gate(vectors, groups, np.unique(patients, return_inverse=True)[1])
    if gate is None:
        raise ValueError("the library is too small for a gate")
    best = {name: _best_of_others(p) for name, p in library.items()}
    pooled = float(np.quantile(np.concatenate(list(best.values())), LIMIT_SHARE))
    limits = {
        name: float(np.quantile(values, LIMIT_SHARE))
        if np.unique(library[name].patients).size >= MIN_LIMIT_PATIENTS
        else pooled
        for name, values in best.items()
    }
    return Judge(gate, vectors, names, limits)


def _best_of_others(pictures: Embedded) -> Float32Array:
    similarities = pictures.vectors @ pictures.vectors.T
    similarities[pictures.patients[:, None] == pictures.patients[None]] = -1.0
    best: Float32Array = similarities.max(axis=1)
    return best


def strange_kinds(embedder: OnnxImageEmbedder, data: Path) -> Iterator[tuple[str, Embedded]]:
    """Yield every kind that the library does not hold."""
    rng = np.random.default_rng(0)
    yield "noise", embedded(embedder, noise(rng))
    yield "blank", embedded(embedder, blank(rng))
    yield "photographs", embedded(embedder, photographs(rng))
    for kind, name in OTHER_MODALITIES.items():
        if (data / name).is_dir():
            yield kind, from_source(embedder, data, name, most=MAX_PER_KIND)
    yield "abdomen", from_source(embedder, data, OPEN_I, body_part="ABDOMEN")
    films = [
        grey
        for name in LIBRARY[:2]
        for grey in _spread(list(grey_pictures(data, name)), N_MADE // 2)
    ]
    yield "inverted", embedded(embedder, [1.0 - grey for _, grey in films])
    yield "turned by 90 degrees", embedded(embedder, [np.rot90(grey) for _, grey in films])


def noise(rng: np.random.Generator) -> list[Float32Array]:
    """Return white, coarse, salt and cloudy noise in turn, shape ``(300, 280)`` each."""
    shape, made = (300, 280), []
    for number in range(N_MADE):
        white = rng.normal(size=shape)
        smooth_px = (0.0, rng.uniform(1, 4), rng.uniform(8, 30), 0.0)[number % 4]
        picture = _smoothed(white, smooth_px) if smooth_px else white
        if number % 4 == 3:
            picture = (rng.uniform(size=shape) < 0.1).astype(np.float64)
        made.append(((picture - picture.min()) / np.ptp(picture)).astype(np.float32))
    return made


def _smoothed(picture: FloatArray, sigma_px: float) -> FloatArray:
    """Return the picture convolved with a Gaussian, wrapped around at the edges."""
    rows, columns = (np.fft.fftfreq(n)[:, None] for n in picture.shape)
    passed = np.exp(-2.0 * (np.pi * sigma_px) ** 2 * (rows**2 + columns.T**2))
    return np.fft.ifft2(np.fft.fft2(picture) * passed).real


def blank(rng: np.random.Generator) -> list[Float32Array]:
    """Return flat, nearly flat, shaded and lettered pictures in turn."""
    shape, made = (300, 260), []
    for number in range(N_MADE):
        picture = np.full(shape, rng.uniform(0.05, 0.95))
        if number % 4 == 1:
            picture = picture + 0.004 * rng.normal(size=shape)
        elif number % 4 == 2:
            picture = picture + np.linspace(-0.1, 0.1, shape[0])[:, None]
        elif number % 4 == 3:
            picture[20:36, 200:240] = rng.uniform(size=(16, 40)) > 0.5
        made.append(np.clip(picture, 0.0, 1.0).astype(np.float32))
    return made


def photographs(rng: np.random.Generator) -> list[Float32Array]:
    """Return photographs and crops of them: scikit-learn's two, and scikit-image's if installed."""
    from sklearn.datasets import load_sample_images

    whole = [np.asarray(one, dtype=np.float32).mean(axis=2) for one in load_sample_images().images]
    spec = find_spec("skimage")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "data"
        files = [folder / f"{name}{end}" for name in PHOTOGRAPHS for end in (".png", ".jpg")]
        whole += [grey_pixels(file) * np.float32(UINT8_MAX) for file in files if file.is_file()]
    crops = [grey / np.float32(UINT8_MAX) for grey in whole]
    for grey in list(crops):
        for share in rng.uniform(0.5, 0.9, size=max(5, N_MADE // len(crops) // 2)):
            side = int(min(grey.shape) * share)
            top, left = (int(rng.integers(length - side + 1)) for length in grey.shape)
            crops.append(grey[top : top + side, left : left + side])
    return crops


def from_source(
    embedder: OnnxImageEmbedder,
    data: Path,
    name: str,
    *,
    body_part: str | None = None,
    most: int | None = None,
) -> Embedded:
    """Embed a shared source's pictures, at most `most` of them, evenly spread."""
    read = list(grey_pictures(data, name, body_part=body_part))
    chosen = read if most is None else _spread(read, most)
    made = embedded(embedder, [grey for _, grey in chosen])
    patients = np.array([f"{name} {row['patient_id']}" for row, _ in chosen])
    sides = np.array([(row.get("view") or "")[:2] for row, _ in chosen])
    return Embedded(made.vectors, patients, sides)


def grey_pictures(
    data: Path, name: str, *, body_part: str | None = None
) -> Iterator[tuple[dict[str, str], Float32Array]]:
    """Yield the rows of a source with their pictures in [0, 1]."""
    folder = data / name
    for row in table_rows(folder):
        found = [p for p in (folder / "images" / row["file"], folder / row["file"]) if p.is_file()]
        if found and body_part in {None, row.get("body_part")}:
            yield row, grey_pixels(found[0])


def embedded(embedder: OnnxImageEmbedder, pictures: Iterable[Float32Array]) -> Embedded:
    """Embed pictures; what the product refuses as blank or noise has a vector of NaN."""
    refused = np.full(embedder.dimension, np.nan, dtype=np.float32)
    vectors = [_vector(embedder, picture, refused) for picture in pictures]
    names = np.array([f"picture {number}" for number in range(len(vectors))])
    return Embedded(np.array(vectors, dtype=np.float32), names, np.full(names.shape, ""))


def _vector(
    embedder: OnnxImageEmbedder, picture: Float32Array, refused: Float32Array
) -> Float32Array:
    if neighbor_correlation(picture) < NOISE_CORRELATION:
        return refused
    try:
        frame = PixelFrame(np.ascontiguousarray(picture, dtype=np.float32), "")
        return embedder.embed([frame])[0].vector
    except CdsError:
        return refused


def _spread(items: list[Any], most: int) -> list[Any]:
    """Return at most `most` items, evenly spread."""
    places = np.linspace(0, len(items) - 1, num=min(most, len(items)), dtype=np.int64)
    return [items[place] for place in places.tolist()]


def table_text(results: dict[str, list[KindResult]]) -> str:
    """Return the tables as Markdown."""
    lines = []
    for library, rows in results.items():
        lines += [
            f"### {library}",
            "",
            "| kind | n | AUROC of the gate | refused | by picture or gate | by the limit |",
            "|---|---|---|---|---|---|",
        ]
        for row in rows:
            auroc = "" if np.isnan(row.auroc) else f"{row.auroc:.3f}"
            lines.append(
                f"| {row.kind} | {row.n} | {auroc} | {row.refused:.1%} | {row.by_gate:.1%} "
                f"| {row.by_limit:.1%} |"
            )
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
