"""What the library answers to one query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cds.domain.case import LibraryCase
from cds.domain.picture_gate import GateDistance


@dataclass(frozen=True, slots=True)
class Hit:
    """One case of a ranking with its similarity by part.

    Attributes
    ----------
    similarity
        ``(w_image image + w_record share record) / (w_image + w_record share)``; the record alone
        counts ``share * record``.
    record_similarity
        Mean agreement over the values that both sides have, in [0, 1]; None without any.
    record_share
        Share of the record block, by weight, that both sides have.
    query_index
        0-based: which of the query's pictures `picture_id` is most similar to.

    """

    case: LibraryCase
    picture_id: str | None
    similarity: float
    image_similarity: float | None
    record_similarity: float | None
    record_share: float | None = None
    query_index: int = 0


@dataclass(frozen=True, slots=True)
class CompositionOfEligible:
    """Who the eligible cases are, counted in distinct patients.

    Attributes
    ----------
    n_patients
        Eligible patients.
    n_by_finding
        Coding key -> number of eligible patients that have it.
    n_by_collection, n_by_diagnosis
        Likewise, for the composition guard.
    n_diagnosed
        Eligible patients with any diagnosis.
    displays
        Coding key -> display text.

    """

    n_patients: int
    n_by_finding: Mapping[str, int]
    n_by_collection: Mapping[str, int]
    n_by_diagnosis: Mapping[str, int]
    n_diagnosed: int
    displays: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the library answers to one query.

    Attributes
    ----------
    hits
        Best first; at most one study per library patient.
    best_similarity, similarity_limit
        Of the gate block; `best_similarity` is None where no case was eligible.
    already_in_library
        Whether a near-duplicate of the query's picture was excluded.
    picture
        How unlike the library's pictures the query's is; None without picture or gate.

    """

    hits: tuple[Hit, ...]
    eligible: CompositionOfEligible
    best_similarity: float | None
    similarity_limit: float
    generation_id: str
    library_name: str
    n_library_patients: int
    already_in_library: bool = False
    picture: GateDistance | None = None
