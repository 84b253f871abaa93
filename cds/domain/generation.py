"""An index generation: a read-only snapshot of the library that can be searched."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cds.domain.case import AgeGroup
from cds.domain.perceptual_hash import hash_words
from cds.domain.picture_copy import CANDIDATE_BITS, N_CANDIDATES
from cds.domain.picture_gate import GateClass
from cds.domain.query import Eligibility
from cds.domain.similarity_limits import (
    RADIOGRAPHS,
    GroupLimit,
    SimilarityLimits,
    comparable_views,
)

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
TextArray = NDArray[np.str_]

NEAR_DUPLICATE_BITS = 30  # of 256; measured in docs/library.md
PASSPORT_FORMAT = 2  # 2: an image limit per group of pictures, and a gate


@dataclass(frozen=True, slots=True)
class IndexPassport:
    """What a generation was built from, and how well it answers.

    Attributes
    ----------
    generation_id
        First 16 hex digits of the SHA-256 over the encoder's hash, every column, and the passport's
        format.
    encoder_hash, feature_version
        What the vectors were made with; a mismatch is refused.
    image_dimension, record_dimension
        Lengths of the two blocks of each row.
    image_limit, record_limit
        5 % quantile of the best similarity of each case to another patient's comparable case; of
        the picture the strictest of the groups', which holds where no group fits.
    group_limits
        The image limit of each group of pictures; empty in passports of format 1, where
        `image_limit` is that of the whole library.
    gate_classes
        What the rows of `GenerationTable.gate_means` are centres of.
    format_version
        A generation of an older format answers until it is built anew.
    expansion_search, recall_at_10
        Of the approximate graph; both None where a library is small enough for exact search. A
        recall without an expansion is that of a graph which missed the target and was refused:
        every query is answered exactly.
    canaries
        Row numbers with the row that must be nearest to each, checked when it is opened.
    adapter_sha256
        Of the site adapter behind the encoder, which lies in the generation; None without one.
        `image_dimension` is then the length of its vectors.

    """

    generation_id: str
    library_name: str
    encoder_name: str
    encoder_hash: str
    feature_version: str
    image_dimension: int
    record_dimension: int
    n_rows: int
    n_cases: int
    n_patients: int
    image_limit: float
    record_limit: float
    built_at: str
    expansion_search: int | None = None
    recall_at_10: float | None = None
    canaries: tuple[tuple[int, int], ...] = ()
    adapter_sha256: str | None = None
    group_limits: tuple[GroupLimit, ...] = ()
    gate_classes: tuple[GateClass, ...] = ()
    format_version: int = 1

    @property
    def image_limits(self) -> SimilarityLimits:
        """Return what the best case of each group must reach."""
        return SimilarityLimits(self.group_limits, self.image_limit)

    @property
    def is_outdated(self) -> bool:
        """Tell whether the generation should be built anew, though it may answer."""
        return self.format_version < PASSPORT_FORMAT


@dataclass(frozen=True, slots=True, eq=False)
class GenerationTable:
    """The columns of a generation: one row per picture, pointing to its case.

    Attributes
    ----------
    vectors
        Shape ``(n, d + r)``, float32: image block beside record block.
    row_case
        Shape ``(n,)``: position of each row's case.
    row_picture_id, row_view
        Shape ``(n,)``.
    row_perceptual_hash
        Shape ``(n, 4)``, uint64: the words of each hash, the highest first.
    row_inner_hash
        Shape ``(n, 4, 4)``, uint64: the same of each picture's inner parts.
    case_id, case_study_key, case_modality, case_body_part, case_age_group, case_owner, \
    case_collection, case_diagnosis
        Shape ``(c,)``, text; empty where unknown.
    case_patient
        Shape ``(c,)``: number of the patient; `patient_key` holds the keys, shape ``(p,)``.
    case_known_at
        Shape ``(c,)``, float64 seconds since 1970 UTC; minus infinity in reference collections.
    case_presence
        Shape ``(c, f)``, float32: which features of the record block are known.
    finding_case, finding_number
        Shape ``(f,)`` each: pairs of case and number in `finding_key`.
    finding_key, finding_display
        Shape ``(v,)``, text.
    gate_means, gate_precision
        See `PictureGate`; empty where the library is too small for one.

    """

    vectors: Float32Array
    row_case: IntArray
    row_picture_id: TextArray
    row_view: TextArray
    row_perceptual_hash: NDArray[np.uint64]
    row_inner_hash: NDArray[np.uint64]
    case_id: TextArray
    case_study_key: TextArray
    case_modality: TextArray
    case_body_part: TextArray
    case_age_group: TextArray
    case_owner: TextArray
    case_collection: TextArray
    case_diagnosis: TextArray
    case_patient: IntArray
    patient_key: TextArray
    case_known_at: NDArray[np.float64]
    case_presence: Float32Array
    finding_case: IntArray
    finding_number: IntArray
    finding_key: TextArray
    finding_display: TextArray
    gate_means: Float32Array = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    gate_precision: Float32Array = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))

    def eligible_rows(self, eligibility: Eligibility) -> BoolArray:
        """Return which rows may answer, shape ``(n,)``, before near-duplicates are excluded."""
        cases = self._eligible_cases(eligibility)
        rows: BoolArray = cases[self.row_case]
        if eligibility.view_group is not None:
            rows = rows & np.isin(self.row_view, comparable_views(eligibility.view_group))
        return rows

    def near_duplicates(self, perceptual_hashes: tuple[int, ...]) -> BoolArray:
        """Return which rows show a near-duplicate of one of the query's pictures."""
        result = np.zeros(self.row_case.shape, dtype=np.bool_)
        for value in perceptual_hashes:
            words = np.array(hash_words(value), dtype=np.uint64)
            bits = np.bitwise_count(self.row_perceptual_hash ^ words).sum(axis=1)
            result |= bits <= NEAR_DUPLICATE_BITS
        return result

    def copy_candidates(self, value: int, among: BoolArray) -> IntArray:
        """Return the rows that may show a cropped copy of a picture, the likeliest first.

        Parameters
        ----------
        value
            The picture's perceptual hash.
        among
            Shape ``(n,)``: which rows are looked at.

        Returns
        -------
        numpy.ndarray
            At most 5 rows, int64. Whether one is a copy `cds.domain.picture_copy` decides.

        """
        rows = np.flatnonzero(among)
        words = np.array(hash_words(value), dtype=np.uint64)
        whole = np.bitwise_count(self.row_perceptual_hash[rows] ^ words).sum(axis=1)
        inner = np.bitwise_count(self.row_inner_hash[rows] ^ words).sum(axis=2).min(axis=1)
        bits = np.minimum(whole, inner)
        near = np.flatnonzero(bits <= CANDIDATE_BITS)
        best: IntArray = rows[near[np.argsort(bits[near], kind="stable")[:N_CANDIDATES]]]
        return best

    def _eligible_cases(self, eligibility: Eligibility) -> BoolArray:
        cases = self.case_known_at < eligibility.known_before.timestamp()
        cases &= (self.case_owner == "") | (self.case_owner == (eligibility.ehr_id or ""))
        cases &= ~np.isin(self.case_study_key, sorted(eligibility.excluded_study_keys))
        patients = np.isin(self.patient_key, sorted(eligibility.excluded_patient_keys))
        cases &= ~patients[self.case_patient]
        if eligibility.modalities:
            cases &= np.isin(self.case_modality, sorted(eligibility.modalities))
        if eligibility.body_part:
            cases &= np.isin(self.case_body_part, [eligibility.body_part])
        if eligibility.age_group is not None and eligibility.age_group is not AgeGroup.UNKNOWN:
            allowed = [eligibility.age_group.value]
            if eligibility.age_group is AgeGroup.ADULT:
                allowed.append(AgeGroup.UNKNOWN.value)
            cases &= np.isin(self.case_age_group, allowed)
        return cases


def comparable_modalities(modality: str | None) -> frozenset[str]:
    """Return the modalities that may be compared with `modality`; empty means any.

    Examples
    --------
    >>> (
    ...     "DX" in comparable_modalities("CR"),
    ...     comparable_modalities("CT"),
    ...     comparable_modalities(None),
    ... )
    (True, frozenset({'CT'}), frozenset())

    """
    if not modality:
        return frozenset()
    return RADIOGRAPHS if modality in RADIOGRAPHS else frozenset({modality})
