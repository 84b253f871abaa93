"""The shortcut audit: whether neighbours agree on source or view more than on the finding.

Likeness that follows the scanner, the hospital or the view can look like likeness of the disease
where the two go together. Agreement is therefore set against chance, compared with the finding's
own, and looked at again where the other of the two is held fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Estimate, Resamples
from models.evaluation.dataset import ATTRIBUTES, EvaluationSet
from models.evaluation.retrieval import NOBODY, Neighbors, nearest

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

CUTOFF = 5
_BLOCK_QUERIES = 512  # bounds memory
_FIRST_UNSTATED = -2  # numbers from here down: values that nobody shares


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often neighbours share something, against chance.

    Attributes
    ----------
    observed
        Share of the first five neighbours that share the query's value.
    chance
        Share of all library pictures that the query may meet which share it.
    lift
        ``observed / chance``.
    excess
        ``(observed - chance) / (1 - chance)``: 0 is chance, 1 is always; comparable between
        attributes with few and with many values.

    """

    observed: float
    chance: float
    lift: Estimate
    excess: Estimate


@dataclass(frozen=True, slots=True)
class ShortcutAudit:
    """What one attribute does to the ranking.

    Attributes
    ----------
    attribute
        For example "view".
    n_queries, n_values
        Queries whose value is stated, and how many values there are.
    agreement
        On the attribute.
    finding
        On the class, of the same queries.
    difference
        Excess on the attribute minus excess on the class.
    among_other_findings
        Agreement on the attribute among neighbours of another class, against chance among library
        pictures of another class: what the class cannot explain. None if there are none.
    finding_within
        Agreement on the class when only pictures with the query's value are searched: what the
        attribute cannot explain. None if no value has two classes.
    verdict
        One or two plain sentences.

    """

    attribute: str
    n_queries: int
    n_values: int
    agreement: Agreement
    finding: Agreement
    difference: Estimate
    among_other_findings: Agreement | None
    finding_within: Agreement | None
    verdict: str


def shortcut_audits(
    vectors: Float32Array,
    data: EvaluationSet,
    neighbors: Neighbors,
    *,
    seed: int,
    n_resamples: int,
) -> tuple[tuple[ShortcutAudit, ...], tuple[str, ...]]:
    """Audit every attribute that takes more than one value.

    Parameters
    ----------
    vectors
        Shape ``(n, d)``, unit norm.
    data
        The set.
    neighbors
        As `nearest` ranks them without restriction.
    seed, n_resamples
        Of the bootstrap by patient.

    Returns
    -------
    tuple
        The audits, and a sentence for each attribute that could not be audited.

    """
    audits, silent = [], []
    for attribute in ATTRIBUTES:
        codes, n_values = _codes(data, attribute)
        usable = np.flatnonzero(codes[data.queries] >= 0)
        if n_values < 2 or len(usable) == 0:
            why = "is the same for all pictures" if n_values == 1 else "is not stated"
            silent.append(f"The {attribute} {why}: whether it is a shortcut cannot be seen here.")
            continue
        draws = Resamples.of_patients(data.query_groups[usable], seed=seed, n_resamples=n_resamples)
        audits.append(_audit(attribute, vectors, data, neighbors, (codes, usable), draws))
    return tuple(audits), tuple(silent)


def _codes(data: EvaluationSet, attribute: str) -> tuple[IntArray, int]:
    """Give each value a number; one that is not stated has a number of its own below -1."""
    column = data.attributes[attribute]
    numbers = {value: index for index, value in enumerate(sorted(set(column) - {""}))}
    codes = [numbers.get(value, _FIRST_UNSTATED - place) for place, value in enumerate(column)]
    return np.array(codes, dtype=np.intp), len(numbers)


def _audit(
    attribute: str,
    vectors: Float32Array,
    data: EvaluationSet,
    neighbors: Neighbors,
    coded: tuple[IntArray, IntArray],
    draws: Resamples,
) -> ShortcutAudit:
    codes, usable = coded
    on_attribute = _counts(data, neighbors, codes, data.labels)
    on_class = _counts(data, neighbors, data.labels, codes)
    within = _counts(data, nearest(vectors, data, same=codes), data.labels, codes, fixed=True)
    ours, theirs = on_attribute.plain[usable], on_class.plain[usable]

    def gap(chosen: IntArray) -> float:
        return _excess(ours[chosen]) - _excess(theirs[chosen])

    agreement, finding = _agreement(ours, draws), _agreement(theirs, draws)
    difference = draws.spread(gap)
    finding_within = _agreement(within.plain[usable], draws) if _varies(within, usable) else None
    return ShortcutAudit(
        attribute=attribute,
        n_queries=len(usable),
        n_values=len(np.unique(codes[codes >= 0])),
        agreement=agreement,
        finding=finding,
        difference=difference,
        among_other_findings=(
            _agreement(on_attribute.other[usable], draws)
            if _varies_other(on_attribute, usable)
            else None
        ),
        finding_within=finding_within,
        verdict=_verdict(attribute, difference, finding_within),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Counts:
    """Per query, shape ``(q, 3)``: neighbours looked at, that agree, and expected to by chance."""

    plain: FloatArray
    other: FloatArray


def _counts(
    data: EvaluationSet,
    neighbors: Neighbors,
    codes: IntArray,
    others: IntArray,
    *,
    fixed: bool = False,
) -> _Counts:
    """Count agreement on `codes`; also among neighbours that differ in `others`.

    With `fixed`, a query may meet only pictures that share its number in `others`.
    """
    plain, other = [], []
    for start in range(0, len(data.queries), _BLOCK_QUERIES):
        rows = slice(start, start + _BLOCK_QUERIES)
        queries = data.queries[rows]
        may_meet = data.groups[queries][:, None] != data.groups[data.library][None, :]
        differs = others[queries][:, None] != others[data.library][None, :]
        if fixed:
            may_meet &= ~differs
        agrees = codes[queries][:, None] == codes[data.library][None, :]
        places = neighbors.order[rows, :CUTOFF]
        is_there = places != NOBODY
        plain.append(_per_query(agrees, may_meet, places, is_there))
        at_place = np.take_along_axis(differs, np.maximum(places, 0), axis=1)
        other.append(_per_query(agrees, may_meet & differs, places, is_there & at_place))
    return _Counts(np.concatenate(plain), np.concatenate(other))


def _per_query(
    agrees: NDArray[np.bool_],
    may_meet: NDArray[np.bool_],
    places: IntArray,
    counted: NDArray[np.bool_],
) -> FloatArray:
    n_looked = counted.sum(axis=1).astype(np.float64)
    at_place = np.take_along_axis(agrees, np.maximum(places, 0), axis=1)
    n_eligible = may_meet.sum(axis=1)
    share = (agrees & may_meet).sum(axis=1) / np.maximum(n_eligible, 1)
    return np.column_stack([n_looked, (at_place & counted).sum(axis=1), n_looked * share])


def _shares(counts: FloatArray) -> tuple[float, float]:
    looked, agreed, expected = counts.sum(axis=0)
    if looked == 0.0:
        return float("nan"), float("nan")
    return float(agreed / looked), float(expected / looked)


def _excess(counts: FloatArray) -> float:
    observed, chance = _shares(counts)
    return (observed - chance) / (1.0 - chance) if chance < 1.0 else float("nan")


def _agreement(counts: FloatArray, draws: Resamples) -> Agreement:
    def values(chosen: IntArray) -> FloatArray:
        observed, chance = _shares(counts[chosen])
        lift = observed / chance if chance > 0.0 else float("nan")
        return np.array([lift, _excess(counts[chosen])])

    lift, excess = draws.each(values)
    return Agreement(*_shares(counts), lift, excess)


def _varies(counts: _Counts, usable: IntArray) -> bool:
    """Whether anything was looked at, and chance alone does not decide it."""
    chance = _shares(counts.plain[usable])[1]
    return bool(np.isfinite(chance) and chance < 1.0 - 1e-9)


def _varies_other(counts: _Counts, usable: IntArray) -> bool:
    chance = _shares(counts.other[usable])[1]
    return bool(np.isfinite(chance) and 0.0 < chance < 1.0 - 1e-9)


def _verdict(attribute: str, difference: Estimate, finding_within: Agreement | None) -> str:
    if difference.low > 0.0:
        first = (
            f"Neighbours agree on the {attribute} more than on the finding: likeness follows the "
            f"{attribute} first, a likely shortcut."
        )
    elif difference.high < 0.0:
        first = f"Neighbours agree on the {attribute} less than on the finding."
    else:
        first = (
            f"Neighbours agree on the {attribute} about as much as on the finding: these pictures "
            "do not settle which counts more."
        )
    if finding_within is None:
        second = (
            f"Each {attribute} has one class only, so that its share in the result cannot be "
            "separated from the finding's: do not read the figures as being about the finding."
        )
    elif finding_within.excess.low > 0.0:
        second = (
            f"Within one {attribute}, neighbours still share the finding "
            f"{finding_within.lift.value:.2f} times as often as chance."
        )
    else:
        second = (
            f"Within one {attribute}, neighbours share the finding no more often than chance: the "
            f"figures may rest on the {attribute}."
        )
    return f"{first} {second}"
