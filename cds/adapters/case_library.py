"""The case library as a ranking: filters, exclusions, exact re-rank, one case per patient."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cds.adapters.comparability import ComparedRows, closest_to_its_limit
from cds.adapters.eligible_composition import EligibleCases, cases_of, composition
from cds.adapters.exact_index import best_positions
from cds.adapters.generations import GenerationFolder, OpenGeneration
from cds.adapters.live_library import (
    DELTA_LIMIT,
    DeltaReader,
    LibraryLog,
    LiveLibrary,
    LiveView,
    Part,
    plain_view,
)
from cds.adapters.usearch_index import EXACT_PARTITION
from cds.domain.case import CasePicture, LibraryCase
from cds.domain.errors import CdsError, Reason
from cds.domain.generation import BoolArray, Float32Array, GenerationTable, IntArray
from cds.domain.picture_copy import GreyThumbnail, is_copy
from cds.domain.query import Eligibility, FusedQuery
from cds.domain.ranking import Hit, Ranking

CaseLookup = Callable[[Sequence[str]], Mapping[str, LibraryCase]]
ThumbnailLookup = Callable[[CasePicture], GreyThumbnail | None]

ANOTHER_ENCODER = "another-encoder"
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
    thumbnail_of
        Returns a kept picture's thumbnail; None leaves cropped copies unrecognised.

    """

    def __init__(
        self,
        generations: GenerationFolder,
        lookup: CaseLookup,
        *,
        encoder_hash: str,
        feature_version: str,
        thumbnail_of: ThumbnailLookup | None = None,
    ) -> None:
        self._generations = generations
        self._lookup = lookup
        self._encoder_hash = encoder_hash
        self._feature_version = feature_version
        self._thumbnail_of = thumbnail_of
        self._live: LiveLibrary | None = None
        self._on_trouble: Callable[[], None] = _ignored
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
                    trouble=ANOTHER_ENCODER,
                )
            self._open = generation
            return generation

    def view(self) -> LiveView:
        """Return what a query sees now: the generation, and what changed since it was built.

        Raises
        ------
        CdsError
            As `current`; STORAGE_UNAVAILABLE if the database does not answer.

        """
        try:
            view = plain_view(self.current()) if self._live is None else self._live.view()
        except CdsError as error:
            if error.reason is Reason.INDEX_UNAVAILABLE:
                self._on_trouble()
            raise
        if view.n_waiting or view.passport.is_outdated:
            self._on_trouble()
        return view

    def tell_trouble(self, told: Callable[[], None]) -> None:
        """Call `told`, which returns at once, whenever the index should be built anew."""
        self._on_trouble = told

    def follow(self, log: LibraryLog, reader: DeltaReader, *, limit: int = DELTA_LIMIT) -> None:
        """Show from now on what changed since the generation was built (see `LiveLibrary`)."""
        self._live = LiveLibrary(self.current, log, reader, limit=limit)

    def rank(self, query: FusedQuery, eligibility: Eligibility, *, cutoff: int) -> Ranking:
        """Return the ranking (see `cds.ports.CaseLibrary.rank`).

        Candidates are searched by the fused vector, whose inner product is the weighted sum of the
        block similarities, then re-ranked with the weights renormalised over the blocks that both
        sides have. Equal similarities are ordered by case id. New cases are compared exactly. Of
        several slices each is searched for, and a case counts with the most similar pair of a
        slice and one of its pictures (the generation's site adapter, if it has one, is applied to
        the query's vectors here); the key slice alone is held against the limit, which was set
        on single pictures. Each collection's best case is held against the collection's own limit;
        the one that exceeds it by most decides.
        """
        view = self.view()
        passport = view.passport
        query = _adapted(query, view.parts[0].generation)
        found = [
            _Found(part, self._copies(part, eligibility), query, eligibility, cutoff)
            for part in view.parts
        ]
        reached = closest_to_its_limit([one.compared() for one in found], passport, eligibility)
        return Ranking(
            hits=self._hits(found, cutoff),
            eligible=composition(
                [EligibleCases(one.part, one.eligible_cases()) for one in found],
            ),
            best_similarity=reached.similarity,
            similarity_limit=reached.limit,
            generation_id=passport.generation_id,
            library_name=passport.library_name,
            n_library_patients=passport.n_patients,
            already_in_library=any(one.has_copies for one in found),
            picture=None
            if query.image is None or eligibility.keep_copies  # doubles of any picture are wanted
            else view.parts[0].generation.gate.nearest(query.image, eligibility),
        )

    def _copies(self, part: Part, eligibility: Eligibility) -> BoolArray:
        """Return which eligible rows show a copy of one of the query's pictures.

        A near-duplicate is recognised by its hash. A cropped one is proposed by the hashes of the
        kept picture's inner parts, and then laid over the query's.
        """
        table = part.generation.table
        rows = part.eligible_rows(eligibility)
        copies = rows & table.near_duplicates(eligibility.perceptual_hashes)
        pairs = zip(eligibility.perceptual_hashes, eligibility.thumbnails, strict=False)
        for value, wanted in pairs:
            for row in table.copy_candidates(value, rows & ~copies).tolist():
                kept = self._kept_thumbnail(table, row)
                copies[row] = kept is not None and is_copy(wanted, kept)
        return copies

    def _kept_thumbnail(self, table: GenerationTable, row: int) -> GreyThumbnail | None:
        if self._thumbnail_of is None:
            return None
        case_id = str(table.case_id[table.row_case[row]])
        case, picture_id = self._lookup([case_id]).get(case_id), str(table.row_picture_id[row])
        pictures = case.pictures if case is not None else ()
        picture = next((p for p in pictures if p.picture_id == picture_id), None)
        return None if picture is None else self._thumbnail_of(picture)

    def _hits(self, found: Sequence[_Found], cutoff: int) -> tuple[Hit, ...]:
        best: list[tuple[_Found, int]] = []
        seen: set[int] = set()
        for one, i in _best_first(found):
            patient = int(one.patients[i])
            if patient not in seen:
                seen.add(patient)
                best.append((one, i))
            if len(best) == cutoff:
                break
        case_ids = [one.case_id(i) for one, i in best]
        cases = self._lookup(case_ids)
        return tuple(
            one.similarities.hit(i, cases[case_id], one.picture_id(i))
            for (one, i), case_id in zip(best, case_ids, strict=True)
            if case_id in cases
        )


class _Found:
    """The candidates of one part, in order of their rows.

    Attributes
    ----------
    rows
        Shape ``(n,)``: which rows of the part may answer.
    positions
        Shape ``(m,)``: which rows were compared exactly.
    patients, order
        Shape ``(m,)``: of each compared row, see `Part`.

    """

    def __init__(
        self,
        part: Part,
        copies: BoolArray,
        query: FusedQuery,
        eligibility: Eligibility,
        cutoff: int,
    ) -> None:
        table = part.generation.table
        self.part = part
        self.has_copies = bool(copies.any())
        self.rows = part.eligible_rows(eligibility)
        if not eligibility.keep_copies:
            self.rows &= ~cases_of(table, copies)[table.row_case]
        self.positions = _candidates(part.generation, query, np.flatnonzero(self.rows), cutoff)
        if eligibility.keep_copies:
            self.positions = np.union1d(self.positions, np.flatnonzero(copies))
        self.similarities = _Similarities(
            part.generation, query, self.positions, copies[self.positions]
        )
        cases = table.row_case[self.positions]
        self.patients = part.patient[cases]
        self.order = part.order[cases]

    def compared(self) -> ComparedRows:
        """Return the similarities of the block that decides whether anything is said."""
        table = self.part.generation.table
        collections = table.case_collection[table.row_case[self.positions]]
        return ComparedRows(self.similarities.key_image, self.similarities.record, collections)

    def eligible_cases(self) -> IntArray:
        """Return the positions of the cases that may answer."""
        return np.flatnonzero(cases_of(self.part.generation.table, self.rows))

    def case_id(self, i: int) -> str:
        """Return the case of a compared row."""
        table = self.part.generation.table
        return str(table.case_id[table.row_case[self.positions[i]]])

    def picture_id(self, i: int) -> str:
        """Return the picture of a compared row."""
        return str(self.part.generation.table.row_picture_id[self.positions[i]])


def _adapted(query: FusedQuery, generation: OpenGeneration) -> FusedQuery:
    """Return the query with its pictures' vectors taken through the site adapter."""
    adapter = generation.adapter
    if adapter is None or query.image is None:
        return query
    image, *more = (adapter(vector) for vector in query.images())
    return replace(query, image=image, more_images=tuple(more))


def _ignored() -> None:
    """Do nothing: who only reads leaves the index to others."""


def _best_first(found: Sequence[_Found]) -> Iterator[tuple[_Found, int]]:
    """Return every compared row of every part, the most similar first, ties by case id."""
    fused = np.concatenate([one.similarities.fused for one in found])
    if len(found) == 1:
        for i in best_positions(fused, fused.shape[0]).tolist():
            yield found[0], i
        return
    order = np.concatenate([one.order for one in found])
    sizes = [one.order.size for one in found]
    part = np.repeat(np.arange(len(found)), sizes)
    place = np.concatenate([np.arange(size) for size in sizes])
    for i in np.lexsort((order, -fused)).tolist():
        yield found[part[i]], int(place[i])


class _Similarities:
    """Similarity by part of the candidate rows, and fused over what both sides have.

    The record's weight counts by the share of the block that both sides have: without any common
    measurement the picture decides alone, with all of them the weights are the query's. Of several
    slices the most similar one counts, row by row; a copy of the picture is as similar as itself.
    """

    def __init__(
        self,
        generation: OpenGeneration,
        query: FusedQuery,
        positions: IntArray,
        copies: BoolArray,
    ) -> None:
        table, d = generation.table, generation.passport.image_dimension
        vectors = table.vectors[positions]
        self.positions = positions
        self.key_image: Float32Array | None = None
        self.image: Float32Array | None = None
        self.nearest = np.zeros(positions.shape, dtype=np.intp)
        if query.image is not None:
            products = np.stack([vectors[:, :d] @ image for image in query.images()])
            self.key_image = np.where(copies, np.float32(1.0), products[0])
            self.image = np.where(copies, np.float32(1.0), products.max(axis=0))
            self.nearest = products.argmax(axis=0)
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
            query_index=int(self.nearest[i]),
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
