"""Confirmed conditions of the film's episode -> diagnoses, with how each was confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.domain.facts import Finding
from cds.fhir import condition
from cds.fhir.course import is_confirmed, recorded_at_of
from cds.fhir.shapes import has_code, items, mapping, reference_id, text
from cds.fhir.study_reports import coded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from cds.fhir.patient_record import PatientRecord
    from cds.fhir.shapes import Resource

# v2-0074: surgical and anatomical pathology, cytopathology; microbiology, mycobacteria, virology.
_HISTOLOGY = ("PAT", "SP", "CP", "LP7839-6")
_CULTURE = ("MB", "MCB", "MYC", "VR", "LP7819-8")
PROOFS = ("histology", "culture", "clinical", "report", "unknown")  # the surest first
UNRANKED = 1_000


def diagnoses_of_episode(
    record: PatientRecord, episode_ids: Iterable[str], *, about_the_study: Iterable[str] = ()
) -> tuple[Finding, ...]:
    """Return the diagnoses of the film's episode, the surest first.

    A Condition counts if it is confirmed and belongs to the episode, or names a report of the study
    as its evidence. What only happens to be recorded near the film is no diagnosis of the film.

    Parameters
    ----------
    record
        The patient's.
    episode_ids
        Logical ids of the Encounters of the film.
    about_the_study
        ``DiagnosticReport/<id>`` of the study's reports.

    """
    episodes, reports = frozenset(episode_ids), frozenset(about_the_study)
    ranks = _ranks(record.encounters, episodes)
    kinds = {text(r.get("id")): r for r in record.diagnostic_reports}
    found: list[tuple[tuple[int, int, float], Finding]] = []
    for one in record.conditions:
        known_at, coding = recorded_at_of(one), coded(one.get("code"))
        if condition.is_ignored(one) or not is_confirmed(one) or not known_at or not coding:
            continue
        if not (is_of_episode(one, episodes, ranks) or reports & set(_evidence(one))):
            continue
        proof = _proof(one, kinds)
        rank = ranks.get(text(one.get("id")) or "", UNRANKED)
        order = (PROOFS.index(proof), rank, known_at.timestamp())
        found.append((order, Finding(coding, proof, is_diagnosis=True, known_at=known_at)))
    return tuple(finding for _, finding in sorted(found, key=lambda pair: pair[0]))


def is_of_episode(
    one: Resource, episodes: frozenset[str], ranks: Mapping[str, int] | None = None
) -> bool:
    """Tell whether a Condition belongs to the film's episode: it is a label, never history."""
    encounter_id = reference_id(one.get("encounter"), "Encounter")
    return encounter_id in episodes or (text(one.get("id")) or "") in (ranks or {})


def known_latest(findings: Iterable[Finding]) -> datetime | None:
    """Return when the last of the findings was known, None without any."""
    return max((f.known_at for f in findings if f.known_at is not None), default=None)


def unique(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return each concept once, the first one's proof kept."""
    kept: dict[str, Finding] = {}
    for finding in findings:
        kept.setdefault(finding.coding.key, finding)
    return tuple(kept.values())


def _ranks(encounters: Iterable[Resource], episodes: frozenset[str]) -> dict[str, int]:
    """Return Condition id -> its rank among the diagnoses that the episode's Encounters list."""
    ranks: dict[str, int] = {}
    for encounter in encounters:
        if text(encounter.get("id")) not in episodes:
            continue
        for diagnosis in items(encounter.get("diagnosis")):
            condition_id = reference_id(diagnosis.get("condition"), "Condition")
            rank = diagnosis.get("rank")
            if condition_id is not None:
                ranks[condition_id] = rank if isinstance(rank, int) else UNRANKED
    return ranks


def _evidence(one: Resource) -> list[str]:
    return [
        target
        for evidence in items(one.get("evidence"))
        for detail in items(evidence.get("detail"))
        if (target := text(mapping(detail).get("reference")))
    ]


def _proof(one: Resource, reports: Mapping[str | None, Resource]) -> str:
    for target in _evidence(one):
        report = reports.get(reference_id({"reference": target}, "DiagnosticReport"))
        categories = items(report.get("category")) if report else ()
        if any(has_code(c, *_HISTOLOGY) for c in categories):
            return "histology"
        if any(has_code(c, *_CULTURE) for c in categories):
            return "culture"
    return "clinical"
