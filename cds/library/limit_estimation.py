"""Estimate the similarity limits from the library's own cases, group by group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cds.domain.case import ViewGroup
from cds.domain.generation import Float32Array, GenerationTable, IntArray
from cds.domain.similarity_limits import (
    MIN_PATIENTS,
    GroupLimit,
    PictureGroup,
    SimilarityLimits,
    age_kind,
    comparable_views,
    picture_kind,
)

REFUSED_SHARE = 0.05  # of the library's own cases, by definition of the limit
SHARE_BESIDE_GATE = 0.025  # where the gate refuses as many: together at most 5 %
GROUP_SAMPLE = 500  # rows of a group that its limit is estimated from; seeded
RECORD_SAMPLE = 2_000  # likewise of the record's limit
NOTHING_KNOWN = 1.0  # no case has another patient's beside it: only a copy would do


@dataclass(frozen=True, slots=True, eq=False)
class _Sampled:
    """Best similarities of sampled rows to other patients of their group, and whose they are."""

    best: Float32Array
    patients: IntArray

    @property
    def n_patients(self) -> int:
        return int(np.unique(self.patients).size)


def image_limits(
    table: GenerationTable, *, image_dimension: int, refused_share: float = REFUSED_SHARE
) -> SimilarityLimits:
    """Return the limit of each group of the library's pictures.

    A group is one kind of picture, body part, view, age group and collection. Each sampled row is
    compared with the rows of other patients in its group that a query like it would see. Where a
    group holds fewer than `MIN_PATIENTS` patients, the limit is that of all collections together,
    else of the whole kind; where these are as small, the strictest limit of the library.

    Parameters
    ----------
    table
        The library.
    image_dimension
        Length of the image block.
    refused_share
        Of the library's own cases.

    """
    image = table.vectors[:, :image_dimension]
    sampled = {
        group: _sampled(table, image, rows, seen) for group, rows, seen in _groups_with_rows(table)
    }
    around: dict[PictureGroup, list[_Sampled]] = defaultdict(list)
    for group, own in sampled.items():
        for one in (group, *group.wider()):
            around[one].append(own)
    known = {group: _joined(parts) for group, parts in around.items()}
    limit = {group: _limit(one.best, refused_share) for group, one in known.items()}
    large = {g: limit[g] for g, one in known.items() if one.n_patients >= MIN_PATIENTS}
    # In a library that is small throughout, each kind as a whole.
    strict = large or {g: limit[g] for g in known if g == PictureGroup(g.kind)}
    strictest = max(strict.values(), default=NOTHING_KNOWN)
    return SimilarityLimits(
        tuple(_group_limit(group, own, large, strictest) for group, own in sampled.items()),
        strictest,
    )


def record_limit(table: GenerationTable, *, image_dimension: int) -> float:
    """Return what the best case must reach where only records are compared."""
    record = table.vectors[:, image_dimension:]
    n = table.row_case.size
    sample = np.sort(np.random.default_rng(0).choice(n, size=min(n, RECORD_SAMPLE), replace=False))
    sample = sample[np.linalg.norm(record[sample], axis=1) > 0]
    patient = table.case_patient[table.row_case]
    group = np.char.add(table.row_view, table.case_age_group[table.row_case])
    best = []
    for row in sample:
        others = (patient != patient[row]) & (group == group[row])
        if others.any():
            best.append(float((record @ record[row])[others].max()))
    return _limit(np.array(best, dtype=np.float32), REFUSED_SHARE)


def _group_limit(
    group: PictureGroup, own: _Sampled, large: dict[PictureGroup, float], strictest: float
) -> GroupLimit:
    basis = next((one for one in (group, *group.wider()) if one in large), None)
    return GroupLimit(group, strictest if basis is None else large[basis], own.n_patients, basis)


def _groups_with_rows(
    table: GenerationTable,
) -> list[tuple[PictureGroup, IntArray, IntArray]]:
    """Return each group with its rows, and with the rows that a query like them would see."""
    columns = (
        np.array([picture_kind(m) for m in table.case_modality.tolist()]),
        table.case_body_part,
        np.array([age_kind(a) for a in table.case_age_group.tolist()]),
        table.case_collection,
    )
    names, codes = zip(*(np.unique(column, return_inverse=True) for column in columns), strict=True)
    cells, case_cell = np.unique(np.stack(codes), axis=1, return_inverse=True)
    row_cell = case_cell.ravel()[table.row_case]
    found = []
    for number, cell in enumerate(cells.T.tolist()):
        kind, body_part, age, collection = (
            str(values[code]) for values, code in zip(names, cell, strict=True)
        )
        rows = np.flatnonzero(row_cell == number)
        views = table.row_view[rows]
        present = np.unique(views).tolist()
        for view in present:
            seen = np.isin(views, _seen_views(view, present))
            group = PictureGroup(kind, body_part, view, age, collection)
            found.append((group, rows[views == view], rows[seen]))
    return found


def _seen_views(view: str, present: Sequence[str]) -> Sequence[str]:
    """Return the views that a query is compared with; one that names none sees every view."""
    return present if view == ViewGroup.OTHER else comparable_views(ViewGroup(view))


def _sampled(
    table: GenerationTable, image: Float32Array, rows: IntArray, seen: IntArray
) -> _Sampled:
    rng = np.random.default_rng(0)
    sample = np.sort(rng.choice(rows, size=min(rows.size, GROUP_SAMPLE), replace=False))
    patient = table.case_patient[table.row_case]
    candidates, whose = image[seen], patient[seen]
    best, patients = [], []
    for row in sample:
        others = whose != patient[row]
        if others.any():
            best.append(float((candidates @ image[row])[others].max()))
            patients.append(int(patient[row]))
    return _Sampled(np.array(best, dtype=np.float32), np.array(patients, dtype=np.int64))


def _joined(parts: Sequence[_Sampled]) -> _Sampled:
    return _Sampled(
        np.concatenate([one.best for one in parts]), np.concatenate([one.patients for one in parts])
    )


def _limit(best: Float32Array, refused_share: float) -> float:
    return float(np.quantile(best, refused_share)) if best.size else NOTHING_KNOWN
