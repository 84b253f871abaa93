"""The case library as a ranking: filters, exclusions, exact re-rank, one case per patient."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cds.adapters.exact_index import best_positions
from cds.adapters.generations import GenerationFolder, OpenGeneration
from cds.adapters.usearch_index import EXACT_PARTITION
from cds.domain.case import LibraryCase
from cds.domain.errors import CdsError, Reason
from cds.domain.generation import Float32Array, GenerationTable, IntArray
from cds.domain.query import Eligibility, FusedQuery
from cds.domain.ranking import CompositionOfEligible, Hit, Ranking

BoolArray = NDArray[np.bool_]
CaseLookup = Callable[[Sequence[str]], Mapping[str, LibraryCase]]

PICTURES_PER_PATIENT = 8  # candidates per neighbour asked for, before one case per patient is kept


class IndexedCaseLibrary:
    """Answers queries from the current index generation and the catalogue's cases.

    Parameters
    ----------
    generations
        Where generations lie; a newly switched one is picked up at the next query.
    lookup
        Returns cases by id; a case that the catalogue no longer has is not shown.
    encoder_hash, feature_version
        What queries are made with; a generation built otherwise is refused.

    """

    def __init__(
        self,
        generations: GenerationFolder,
        lookup: CaseLookup,
        *,
        encoder_hash: str,
        feature_version: str,
    ) -> None:
        self._generations = generations
        self._lookup = lookup
        self._encoder_hash = encoder_hash
        self._feature_version = feature_version
        self._open: OpenGeneration | None = None
        self._lock = threading.Lock()

    def current(self) -> OpenGeneration:
        """Return the current generation, opened and checked once.

        Raises
        ------
        CdsError
            INDEX_UNAVAILABLE if there is none, it is damaged, or it was built with another
            encoder or record block.

        """
        current_id = self._generations.current_id()
        generation = self._open
        if generation is not None and generation.passport.generation_id == current_id:
            return generation
        with self._lock:
            generation = self._generations.open_current()
            passport = generation.passport
            made_with = (passport.encoder_hash, passport.feature_version)
            if made_with != (self._encoder_hash, self._feature_version):
                raise CdsError(
                    Reason.INDEX_UNAVAILABLE,
                    "The index was built with another encoder; rebuild it with "
                    "`precedent library index`.",
                )
            self._open = generation
            return generation

    def rank(self, query: FusedQuery, eligibility: Eligibility, *, cutoff: int) -> Ranking:
        """Return the ranking (see `cds.ports.CaseLibrary.rank`).

        Candidates are searched by the fused vector, whose inner product is the weighted sum of the
        block similarities, then re-ranked with the weights renormalised over the blocks that both
        sides have. Equal similarities are ordered by case id. Of several slices each is searched
        for, and a case counts with the most similar pair of a slice and one of its pictures; the
        key slice alone is held against the limit, which was set on single pictures.
        """
        generation = self.current()
        table, passport = generation.table, generation.passport
        rows = table.eligible_rows(eligibility)
        duplicates = rows & table.near_duplicates(eligibility.perceptual_hashes)
        rows &= ~_cases_of(table, duplicates)[table.row_case]
        positions = _candidates(generation, query, np.flatnonzero(rows), cutoff)
        scored = _Similarities(generation, query, positions)
        hits = self._hits(table, scored, cutoff)
        gate = scored.key_image if query.image is not None else scored.record
        return Ranking(
            hits=hits,
            eligible=_composition(table, rows),
            best_similarity=float(gate.max()) if gate is not None and gate.size else None,
            similarity_limit=passport.image_limit
            if query.image is not None
            else passport.record_limit,
            generation_id=passport.generation_id,
            library_name=passport.library_name,
            n_library_patients=passport.n_patients,
            already_in_library=bool(duplicates.any()),
        )

    def _hits(self, table: GenerationTable, scored: _Similarities, cutoff: int) -> tuple[Hit, ...]:
        best: list[int] = []
        seen: set[int] = set()
        order = best_positions(scored.fused, scored.fused.shape[0])
        for i in order.tolist():
            patient = int(table.case_patient[table.row_case[scored.positions[i]]])
            if patient not in seen:
                seen.add(patient)
                best.append(i)
            if len(best) == cutoff:
                break
        case_ids = [str(table.case_id[table.row_case[scored.positions[i]]]) for i in best]
        cases = self._lookup(case_ids)
        return tuple(
            scored.hit(i, cases[case_id], str(table.row_picture_id[scored.positions[i]]))
            for i, case_id in zip(best, case_ids, strict=True)
            if case_id in cases
        )


class _Similarities:
    """Similarity by part of the candidate rows, and fused over what both sides have.

    The record's weight counts by the share of the block that both sides have: without any common
    measurement the picture decides alone, with all of them the weights are the query's. Of several
    slices the most similar one counts, row by row.
    """

    def __init__(self, generation: OpenGeneration, query: FusedQuery, positions: IntArray) -> None:
        table, d = generation.table, generation.passport.image_dimension
        vectors = table.vectors[positions]
        self.positions = positions
        by_picture: list[Float32Array] = [vectors[:, :d] @ p for p in query.images()]
        self.key_image = by_picture[0] if by_picture else None
        self.image: Float32Array | None = np.max(by_picture, axis=0) if by_picture else None
        self.record = None if query.record is None else vectors[:, d:] @ query.record
        self.coverage = np.zeros(positions.shape, dtype=np.float32)
        if query.presence is not None:
            cases = table.row_case[positions]
            self.coverage = (table.case_presence @ query.presence)[cases]
        self.fused = self._fuse(query)

    def _fuse(self, query: FusedQuery) -> Float32Array:
        if self.image is None:
            if self.record is None:
                raise ValueError("a query needs at least one block")
            return self.record
        if self.record is None:
            return self.image
        w_image, w_record = query.weights.image, query.weights.record
        total = w_image + w_record * self.coverage
        both = w_image * self.image + w_record * self.record
        nothing_shared = np.full_like(self.image, -1.0)
        fused: Float32Array = np.divide(both, total, out=nothing_shared, where=total > 0)
        return fused

    def hit(self, i: int, case: LibraryCase, picture_id: str) -> Hit:
        share = float(self.coverage[i])
        has_record = self.record is not None and share > 0
        return Hit(
            case=case,
            picture_id=picture_id,
            similarity=float(self.fused[i]),
            image_similarity=None if self.image is None else float(self.image[i]),
            record_similarity=float(self.record[i]) / share
            if self.record is not None and has_record
            else None,
            record_share=share if has_record else None,
        )


def _candidates(
    generation: OpenGeneration, query: FusedQuery, eligible: IntArray, cutoff: int
) -> IntArray:
    """Return the eligible rows to re-rank: all of them on a partition of up to 50,000."""
    if eligible.size <= EXACT_PARTITION:
        return eligible
    pictures: Sequence[Float32Array | None] = query.images() or (None,)
    found = [
        _nearest(generation, _fused_vector(generation, query, picture), eligible, cutoff)
        for picture in pictures
    ]
    return found[0] if len(found) == 1 else np.unique(np.concatenate(found))


def _nearest(
    generation: OpenGeneration, vector: Float32Array, eligible: IntArray, cutoff: int
) -> IntArray:
    wanted = cutoff * PICTURES_PER_PATIENT
    found, _ = generation.index.search(vector, cutoff=wanted)
    if eligible.size == len(generation.index):
        return np.sort(found)
    kept = np.intersect1d(found, eligible)
    if kept.size >= wanted // 2:
        return kept
    exact, _ = generation.index.search(vector, cutoff=wanted, positions=eligible)
    return np.sort(exact)


def _fused_vector(
    generation: OpenGeneration, query: FusedQuery, picture: Float32Array | None
) -> Float32Array:
    passport = generation.passport
    vector = np.zeros(passport.image_dimension + passport.record_dimension, dtype=np.float32)
    if picture is not None:
        vector[: passport.image_dimension] = query.weights.image * picture
    if query.record is not None:
        vector[passport.image_dimension :] = query.weights.record * query.record
    return vector


def _cases_of(table: GenerationTable, rows: BoolArray) -> BoolArray:
    cases = np.zeros(table.case_id.shape, dtype=np.bool_)
    cases[table.row_case[rows]] = True
    return cases


def _composition(table: GenerationTable, rows: BoolArray) -> CompositionOfEligible:
    """Count distinct eligible patients, in all and by finding, diagnosis and collection."""
    cases = np.flatnonzero(_cases_of(table, rows))
    patients = table.case_patient[cases]
    pairs = np.isin(table.finding_case, cases)
    finding_patient = table.case_patient[table.finding_case[pairs]]
    diagnosed = table.case_diagnosis[cases] != ""
    return CompositionOfEligible(
        n_patients=int(np.unique(patients).size),
        n_by_finding=_patients_by(
            table.finding_key[table.finding_number[pairs]]
            if pairs.any()
            else np.array([], dtype=np.str_),
            finding_patient,
        ),
        n_by_collection=_patients_by(table.case_collection[cases], patients),
        n_by_diagnosis=_patients_by(table.case_diagnosis[cases][diagnosed], patients[diagnosed]),
        n_diagnosed=int(np.unique(patients[diagnosed]).size),
        displays=dict(zip(table.finding_key.tolist(), table.finding_display.tolist(), strict=True)),
    )


def _patients_by(labels: NDArray[np.str_], patients: IntArray) -> dict[str, int]:
    names, numbers = np.unique(labels, return_inverse=True)
    unique = np.unique(np.stack([numbers.ravel(), patients]), axis=1)
    counts = np.bincount(unique[0], minlength=names.size) if unique.size else np.zeros(0, np.int64)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}
