"""The story in one screen: context and images -> embedding -> fused query -> ranking -> insight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cds.domain.answer import Setting, compared_report, eligibility_of
from cds.domain.film import FilmFacts
from cds.domain.fitness import check_fit, compared_frames
from cds.domain.query import CaseQuery, FusedQuery
from cds.domain.report import CaseReport
from cds.ports import CaseLibrary, IdentityKeys, ImageEmbedder, PatientFeatures


@dataclass(frozen=True, slots=True)
class Tools:
    """The ports that a comparison needs, and what is refused before one."""

    embedder: ImageEmbedder
    features: PatientFeatures
    library: CaseLibrary
    keys: IdentityKeys
    check_fit: Callable[[CaseQuery, FilmFacts], None] = check_fit


def compare(query: CaseQuery, film: FilmFacts, setting: Setting, tools: Tools) -> CaseReport:
    """Compare one study with the library.

    The caller has read the record, fetched the frames and bound them to the patient.

    Raises
    ------
    CdsError
        IMAGE_UNSUPPORTED or MISSING_CONTEXT if the query must not be compared; IMAGE_UNREADABLE,
        MODEL_UNAVAILABLE or INDEX_UNAVAILABLE from the ports.

    """
    tools.check_fit(query, film)
    vectors = [e.vector for e in tools.embedder.embed(compared_frames(query))]
    record = tools.features.vector(film.facts)
    fused = FusedQuery(
        weights=query.weights,
        image=vectors[0] if vectors else None,
        more_images=tuple(vectors[1:]),
        record=record,
        presence=None if record is None else tools.features.presence(film.facts),
    )
    eligibility = eligibility_of(
        query,
        film,
        patient_keys=frozenset(tools.keys.patient_key(*pair) for pair in query.identifiers()),
        study_keys=frozenset(map(tools.keys.study_key, query.study_instance_uids())),
    )
    ranking = tools.library.rank(fused, eligibility, cutoff=query.cutoff)
    shared = {
        hit.case.case_id: tools.features.shared(film.facts, hit.case.facts) for hit in ranking.hits
    }
    return compared_report(query, film, ranking, setting, shared)
