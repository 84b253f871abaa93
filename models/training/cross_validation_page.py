"""The figures of a cross-validation as tables of `docs/evaluation.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.fold_gains import MEASURES, Gain, Pair, gains, resampled
from models.evaluation.held_out import answered
from models.evaluation.shared_pictures import SOURCES
from models.site_adapter import LinearMap
from models.training.comparison import TASKS
from models.training.fold_pictures import NO_CLASS, OPENI, OPENI_VARIANTS, FoldPictures
from models.training.rows import KERMANY, NIH

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.intp]

MARKS = ("<!-- figures: start -->\n", "<!-- figures: end -->")
LIBRARIES = ("training folds", "held-out fold")
QUESTIONS = (
    ("NIH, pneumonia or not", NIH, None),
    ("NIH, PA films alone", NIH, "PA"),
    ("NIH, AP films alone", NIH, "AP"),
    ("Kermany, bacterial / viral / normal", KERMANY, None),
)
_KEPT = LinearMap(None, np.zeros(1, dtype=np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class FoldVectors:
    """What one training left behind.

    Attributes
    ----------
    seed, number
        Of the fold that was held out.
    vectors
        Shape ``(n, d)``, unit norm; not numbers where a picture was not embedded.
    folds
        Shape ``(n,)``; -1 where a picture is never trained on.

    """

    seed: int
    number: int
    vectors: Float32Array
    folds: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """Pictures, the frozen start's vectors of them, and every training."""

    pictures: FoldPictures
    frozen: Float32Array
    trainings: Sequence[FoldVectors]

    def within_source(self, source: str, view: str | None, library: str) -> list[Pair]:
        """Answer the held-out pictures of a source, frozen and trained, fold by fold."""
        pictures = self.pictures
        measured = (pictures.collections == source) & (pictures.classes != NO_CLASS)
        if view is not None:
            measured &= pictures.views == view
        pairs = []
        for one in self.trainings:
            held_out = np.flatnonzero(measured & (one.folds == one.number))
            others = held_out
            if library == LIBRARIES[0]:
                others = np.flatnonzero(measured & (one.folds != one.number))
            pairs.append(self._pair(one.vectors, held_out, others))
        return pairs

    def untrained(self, collection: str, library: str | None = None) -> list[Pair]:
        """Answer the pictures of a collection that nothing was trained on.

        By each training that embedded them.

        Parameters
        ----------
        collection
            Of the queries.
        library
            Collection that is searched; their own if None.

        """
        pictures = self.pictures
        measured = pictures.classes != NO_CLASS
        queries = np.flatnonzero(measured & (pictures.collections == collection))
        others = queries
        if library is not None:
            others = np.flatnonzero(measured & (pictures.collections == library))
        embedding = [one for one in self.trainings if np.isfinite(one.vectors[queries]).all()]
        return [self._pair(one.vectors, queries, others) for one in embedding]

    def _pair(self, vectors: Float32Array, queries: IntArray, library: IntArray) -> Pair:
        found = []
        for embedded in (self.frozen, vectors):
            sides = [self.pictures.labelled(embedded, chosen) for chosen in (queries, library)]
            sides[1].collections[:] = sides[0].collections[0]
            ((_, answers),) = answered(_KEPT, *sides).items()
            found.append(answers)
        return found[0], found[1]


def figures(results: Results) -> dict[str, Any]:
    """Measure everything.

    Returns
    -------
    dict
        Plain values, as they are kept beside the page.

    """
    within = {
        title: {
            library: _told(results.within_source(source, view, library)) for library in LIBRARIES
        }
        for title, source, view in QUESTIONS
    }
    untrained = {
        source.folder: _told(results.untrained(source.folder))
        for source in SOURCES
        if source.folder not in TASKS
    }
    variants = list(OPENI_VARIANTS)
    asked = [(name, name) for name in variants] + [(name, OPENI) for name in variants[1:]]
    openi = {
        f"{queries} in {library}": _right(results.untrained(queries, library))
        for queries, library in asked
    }
    return {
        "n_trainings": len(results.trainings),
        "pictures": _counts(results.pictures),
        "within source": within,
        "not trained on": untrained,
        "chest or abdomen": openi,
    }


def tables(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    n_trainings = found["n_trainings"]
    lines = [
        f"{n_trainings} encoder{'s were' if n_trainings > 1 else ' was'} trained and measured.",
        "",
    ]
    for library in LIBRARIES:
        lines += [f"**Library = {library}**", "", *_HEAD]
        for title, by_library in found["within source"].items():
            lines.append(_row(title, by_library[library]))
        lines.append("")
    lines += ["**Not trained on**: each of the encoders against the frozen start", "", *_HEAD]
    lines += [_row(title, values) for title, values in found["not trained on"].items()]
    lines += [
        "",
        "**Chest or abdomen**: right of 75, leave-one-out",
        "",
        "| queries in library | frozen | trained: least | mean |",
        "|---|---|---|---|",
    ]
    for title, values in found["chest or abdomen"].items():
        trained = values["trained"]
        lines.append(
            f"| {title.replace(f'{OPENI}, ', '').replace(OPENI, 'as they are')} | "
            f"{values['frozen']} | {min(trained)} | {np.mean(trained):.1f} |"
        )
    return "\n".join(lines) + "\n"


def replace_figures(page: Path, text: str) -> None:
    """Put tables between the marks of a page.

    Raises
    ------
    ValueError
        If the page has no marks.

    """
    content = page.read_text(encoding="utf-8")
    start, end = MARKS
    if start not in content or end not in content:
        raise ValueError("the page lacks the marks of the figures")
    before, after = content.split(start)[0], content.split(end)[1]
    page.write_text(f"{before}{start}{text}{end}{after}", encoding="utf-8")


_HEAD = (
    "| pictures | P@1 frozen | trained | gain (95 %) | P@5 gain (95 %) | AUROC frozen | trained | "
    "gain (95 %) |",
    "|---|---|---|---|---|---|---|---|",
)


def _row(title: str, values: dict[str, Any]) -> str:
    first, fifth, area = (values[name] for name in MEASURES)
    cells = [
        title,
        f"{first['before']['value']:.3f}",
        f"{first['after']['value']:.3f}",
        _signed(first["gain"]),
        _signed(fifth["gain"]),
        f"{area['before']['value']:.3f}",
        f"{area['after']['value']:.3f}",
        _signed(area["gain"]),
    ]
    return f"| {' | '.join(cells)} |"


def _signed(estimate: dict[str, float]) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def _told(pairs: list[Pair]) -> dict[str, Any]:
    found: dict[str, Gain] = gains(resampled(pairs))
    by_training = [[float(side.first.mean()) for side in pair] for pair in pairs]
    told: dict[str, Any] = {name: _rounded(asdict(gain)) for name, gain in found.items()}
    told["P@1 by training"] = _rounded(by_training)
    told["n_queries"] = int(sum(before.classes.size for before, _ in pairs))
    return told


def _right(pairs: list[Pair]) -> dict[str, Any]:
    frozen, trained = ([int(pair[side].first.sum()) for pair in pairs] for side in (0, 1))
    return {"frozen": frozen[0], "trained": trained, "of": int(pairs[0][0].classes.size)}


def _counts(pictures: FoldPictures) -> dict[str, dict[str, int]]:
    return {
        str(name): {
            "pictures": int((pictures.collections == name).sum()),
            "groups": int(np.unique(pictures.groups[pictures.collections == name]).size),
        }
        for name in _in_order(pictures.collections.tolist())
    }


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _rounded(values: Any) -> Any:  # noqa: ANN401  # plain values of any depth
    """Round every number to what a table and its sums need."""
    if isinstance(values, dict):
        return {name: _rounded(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_rounded(value) for value in values]
    return round(values, 5) if isinstance(values, float) else values
