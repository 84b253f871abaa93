"""Compose the answer: one `CaseReport` from a ranking, or from the reason why there is none."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, replace
from datetime import datetime

from cds.domain import insight, wording
from cds.domain.case import AgeGroup, ViewGroup
from cds.domain.errors import CdsError
from cds.domain.facts import SharedFact
from cds.domain.film import FilmFacts
from cds.domain.fitness import compared_frames, is_sliced
from cds.domain.generation import comparable_modalities
from cds.domain.key_slices import SLICED, SlicePlace
from cds.domain.outcome_terms import NOT_COUNTED, NUMBERS, event_phrase_of_one
from cds.domain.perceptual_hash import perceptual_hash
from cds.domain.picture_copy import thumbnail
from cds.domain.pixels import PixelFrame
from cds.domain.priority import suggested_priority
from cds.domain.query import CaseQuery, Eligibility
from cds.domain.ranking import Hit, Ranking
from cds.domain.report import AnswerState, CaseReport, Neighbor, ReportVersions
from cds.domain.study import StudyRef

_NAMESPACE = uuid.UUID("6f1c1c5e-1f0b-5c57-9b0e-0d6c6a9f8f11")
NOTHING_SIMILAR = "no past case is similar enough"
UNLIKE = "the picture is unlike the library's pictures"
ONLY_SLICES = "only a few slices were compared"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and with what an answer is computed."""

    created_at: datetime
    stage: str
    versions: ReportVersions
    library_name: str


def input_hash(query: CaseQuery, film: FilmFacts, setting: Setting) -> str:
    """Return the SHA-256 (hex) over exactly what this answer is computed from, and says.

    The patient's identifiers are among it, since they decide which library cases are left out as
    the patient's own; so are stage and study, since a kept answer repeats them.
    """
    versions = setting.versions
    content = {
        "ehr_id": query.ehr_id,
        "patient_id": _patient_id(query),
        "identifiers": sorted(query.identifiers()),
        "study": _study_facts(query.study),
        "pictures": [_picture_digest(frame) for frame in query.frames],
        "age": film.facts.age_years,
        "sex": film.facts.sex,
        "measurements": [
            [m.code, m.value, m.unit, m.observed_at and m.observed_at.isoformat()]
            for m in film.facts.measurements
        ],
        "missing": film.missing,
        "image_weight": query.weights.image,
        "cutoff": query.cutoff,
        "stage": setting.stage,
        "library": setting.library_name,
        "versions": [
            versions.software,
            versions.encoder_hash,
            versions.index_generation,
            versions.wording,
        ],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _picture_digest(frame: PixelFrame) -> str:
    """Return what tells a picture apart: its bytes, and for a slice its frame and place."""
    place = frame.slice_place
    if place is None:
        return frame.content_sha256
    return f"{frame.content_sha256} {frame.frame_number} {place.number}/{place.n_slices}"


def _study_facts(study: StudyRef | None) -> list[object] | None:
    """Return what an answer repeats of its study; that a human report came later is not part."""
    if study is None:
        return None
    return [
        study.study_instance_uid,
        study.accession_number,
        study.imaging_study_id,
        study.modality,
        study.body_part,
        study.description,
        study.started_at and study.started_at.isoformat(),
        study.n_instances,
    ]


def eligibility_of(
    query: CaseQuery, film: FilmFacts, *, patient_keys: frozenset[str], study_keys: frozenset[str]
) -> Eligibility:
    """Return the filters and exclusions of a query.

    The view filters only where the picture names one; the age group is the patient's own, adults
    where it is not known.
    """
    frame = query.frames[0] if query.frames else None
    view = ViewGroup.from_view_position(frame.view_position) if frame else ViewGroup.OTHER
    modality = frame.modality if frame else (query.study.modality if query.study else None)
    age_group = AgeGroup.from_age_years(film.facts.age_years)
    return Eligibility(
        known_before=query.as_of,
        modalities=comparable_modalities(modality),
        body_part=frame.body_part if frame else None,
        view_group=None if view is ViewGroup.OTHER else view,
        age_group=age_group,
        ehr_id=query.ehr_id,
        excluded_patient_keys=patient_keys,
        excluded_study_keys=study_keys,
        perceptual_hashes=tuple(perceptual_hash(frame.pixels) for frame in query.frames),
        thumbnails=tuple(thumbnail(frame.pixels) for frame in query.frames),
        keep_copies=query.keep_copies,
    )


def compared_report(
    query: CaseQuery,
    film: FilmFacts,
    ranking: Ranking,
    setting: Setting,
    shared: dict[str, tuple[SharedFact, ...]],
) -> CaseReport:
    """Return the answer to a query that was compared, or that nothing comparable exists.

    Parameters
    ----------
    query, film
        What was asked, and the record as it counted.
    ranking
        What the library answered.
    setting
        Clock, stage, versions.
    shared
        Case id -> measurements that both sides have.

    """
    comparable = insight.is_comparable(ranking)
    guard = insight.composition_guard(ranking.eligible) if comparable else None
    n_kept = insight.n_most_similar(ranking.eligible.n_patients, query.cutoff)
    hits = ranking.hits[:n_kept] if comparable else ()
    counter = insight.counter_example(hits)
    statements = insight.finding_statements(
        replace(ranking, hits=hits),
        eligible_kind=_eligible_kind(query),
        withhold_diagnoses=guard is not None,
    )
    return replace(
        _unanswered(
            query,
            film,
            setting,
            not_assessed_because=_because(query) if comparable else _why_not(ranking),
        ),
        state=AnswerState.COMPARED if comparable else AnswerState.NOTHING_COMPARABLE,
        n_library_patients=ranking.n_library_patients,
        n_eligible=ranking.eligible.n_patients,
        best_similarity=ranking.best_similarity,
        similarity_limit=ranking.similarity_limit,
        abstention=None if comparable else _abstention(ranking),
        composition_guard=guard,
        neighbors=tuple(
            replace(
                _neighbor(rank, hit, shared.get(hit.case.case_id, ()), counter),
                query_place=_query_place(query, hit),
            )
            for rank, hit in enumerate(hits, start=1)
        ),
        findings=() if is_sliced(query) else statements,
        outcomes=insight.outcome_statements(hits),
        states_at_film=insight.states_at_film(hits),
        already_in_library=ranking.already_in_library,
        compared_part=_slices_sentence(query) if is_sliced(query) else None,
    )


def not_assessed_report(
    query: CaseQuery, film: FilmFacts, error: CdsError, setting: Setting
) -> CaseReport:
    """Return the answer that says why nothing was compared."""
    because = error.sentence.rstrip(".")
    unanswered = _unanswered(
        query, film, setting, not_assessed_because=because[:1].lower() + because[1:]
    )
    told_apart = f"{unanswered.input_hash}|{error.reason.value}|{error.sentence}"
    return replace(
        unanswered,
        report_id=str(uuid.uuid5(_NAMESPACE, told_apart)),
        not_assessed_reason=error.reason.value,
        abstention=error.sentence,
    )


def again(report: CaseReport, n_withdrawn: int) -> CaseReport:
    """Return an answer under its own id where equal ones were withdrawn: those stay so."""
    if not n_withdrawn:
        return report
    told_apart = f"{report.input_hash}|again-{n_withdrawn}"
    return replace(report, report_id=str(uuid.uuid5(_NAMESPACE, told_apart)))


def _unanswered(
    query: CaseQuery, film: FilmFacts, setting: Setting, *, not_assessed_because: str | None
) -> CaseReport:
    digest = input_hash(query, film, setting)
    both = bool(query.frames) and bool(film.used)
    priority, sentence = suggested_priority(
        film.facts.measurements, film_at=film.film_at, not_assessed_because=not_assessed_because
    )
    return CaseReport(
        report_id=str(uuid.uuid5(_NAMESPACE, digest)),
        ehr_id=query.ehr_id,
        patient_id=_patient_id(query),
        study=query.study,
        created_at=setting.created_at,
        data_at=query.context.read_at if query.context else query.as_of,
        state=AnswerState.NOT_ASSESSED,
        stage=setting.stage,
        library_name=setting.library_name,
        versions=setting.versions,
        input_hash=digest,
        priority=priority,
        priority_sentence=sentence,
        image_weight=query.weights.image if both else float(bool(query.frames)),
        record_weight=query.weights.record if both else float(not query.frames),
        inputs_used=(*_picture_phrases(query), *film.used),
        inputs_missing=film.missing,
        set_aside=query.context.set_aside if query.context else (),
    )


def _why_not(ranking: Ranking) -> str:
    return UNLIKE if insight.is_unlike(ranking) else NOTHING_SIMILAR


def _abstention(ranking: Ranking) -> str:
    """Return why nothing is compared: the picture itself first, then that no case is similar."""
    picture = ranking.picture
    if picture is not None and picture.is_beyond:
        return wording.unlike_sentence(picture.distance, picture.limit)
    return wording.abstention_sentence(ranking.best_similarity, ranking.similarity_limit)


def _neighbor(
    rank: int, hit: Hit, shared: tuple[SharedFact, ...], counter_case_id: str | None
) -> Neighbor:
    case = hit.case
    return Neighbor(
        rank=rank,
        case_id=case.case_id,
        picture_id=hit.picture_id,
        similarity=hit.similarity,
        image_similarity=hit.image_similarity,
        record_similarity=hit.record_similarity,
        record_share=hit.record_share,
        collection=case.collection,
        view="not recorded" if case.view_group is ViewGroup.OTHER else case.view_group.value,
        age_band=insight.age_band(case),
        sex=case.sex,
        film_year=case.film_year,
        findings=case.findings,
        shared=shared,
        measurements=case.measurements,
        outcomes=tuple(outcome_phrases(hit)),
        is_counter_example=case.case_id == counter_case_id,
        case_place=next(
            (one.slice_place for one in case.pictures if one.picture_id == hit.picture_id), None
        ),
    )


def _query_place(query: CaseQuery, hit: Hit) -> SlicePlace | None:
    """Return which slice of the query a case was found by."""
    frames = compared_frames(query)
    return frames[hit.query_index].slice_place if frames else None


def outcome_phrases(hit: Hit) -> list[str]:
    """Return what became of one case, for the app page only."""
    phrases = []
    for outcome in hit.case.outcomes:
        if outcome.code in NUMBERS:
            name, unit = NUMBERS[outcome.code]
            phrases.append(f"{name.lower()} {outcome.value:g} {unit}")
        elif outcome.code in NOT_COUNTED:
            phrases.append(f"{outcome.code} {outcome.value:g}")
        else:
            event = event_phrase_of_one(outcome.code, outcome.horizon_days)
            phrases.append(f"{event}: {'yes' if outcome.value >= insight.IS_EVENT else 'no'}")
    return phrases


def _eligible_kind(query: CaseQuery) -> str:
    frame = query.frames[0] if query.frames else None
    if frame is None:
        return "with a record to compare"
    view = ViewGroup.from_view_position(frame.view_position)
    part = (frame.body_part or "").lower()
    kind = "film" if frame.modality not in SLICED else f"{frame.modality} slice"
    words = [view.value if view in {ViewGroup.PA, ViewGroup.AP} else "comparable", part, kind]
    article = "an" if words[0][0] in "A" else "a"
    return " ".join(["with", article, *(word for word in words if word)])


def _picture_phrases(query: CaseQuery) -> tuple[str, ...]:
    if not query.frames:
        return ()
    if is_sliced(query):
        n_slices = len(compared_frames(query))
        return (f"picture: {n_slices} {'slice' if n_slices == 1 else 'slices'}",)
    return ("picture: 1 frame" if len(query.frames) == 1 else "picture: the first frontal frame",)


def _slices_sentence(query: CaseQuery) -> str:
    frames = compared_frames(query)
    places = [frame.slice_place for frame in frames if frame.slice_place is not None]
    if places:
        numbers = sorted(place.number for place in places)
        return wording.slices_sentence(numbers, places[0].n_slices, places[0].ordered_by)
    known = query.study.n_instances if query.study else None
    return wording.one_slice_sentence(max(frames[0].n_frames, known or 1))


def _because(query: CaseQuery) -> str | None:
    """Return why a comparison gives no priority: of slices that were not compared it is silent."""
    return ONLY_SLICES if is_sliced(query) else None


def _patient_id(query: CaseQuery) -> str | None:
    return query.context.demographics.patient_id if query.context else None
