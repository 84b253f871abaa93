"""Pure rules over a ranking: what the matched cases say, and when nothing is said."""

from __future__ import annotations

from collections import defaultdict
from statistics import quantiles

from cds.domain import wording
from cds.domain.case import LibraryCase
from cds.domain.coding import Coding
from cds.domain.outcome_terms import NOT_COUNTED, NUMBERS, ORDER, event_phrase, state_phrase
from cds.domain.ranking import CompositionOfEligible, Hit, Ranking
from cds.domain.report import FindingStatement, OutcomeStatement
from cds.domain.statistics import direction_against, wilson_interval

NEIGHBOR_SHARE = 4  # at most one eligible patient in four counts as among the most similar
MAX_FINDINGS = 8  # a page of statements that is read, not scrolled
MAX_OUTCOMES = 8
DOMINANT_SHARE = 0.5  # CLINICAL 5.2
MIN_OTHER_DIAGNOSES = 20  # CLINICAL 5.2
IS_EVENT = 0.5


def is_comparable(ranking: Ranking) -> bool:
    """Tell whether the best eligible case is similar enough to say anything, and the picture is."""
    return has_similar_case(ranking) and not is_unlike(ranking)


def has_similar_case(ranking: Ranking) -> bool:
    """Tell whether the best eligible case reaches the limit."""
    return (
        ranking.best_similarity is not None and ranking.best_similarity >= ranking.similarity_limit
    )


def is_unlike(ranking: Ranking) -> bool:
    """Tell whether the picture is unlike the library's pictures of its kind."""
    return ranking.picture is not None and ranking.picture.is_beyond


def n_most_similar(n_eligible: int, cutoff: int) -> int:
    """Return how many patients are counted as the most similar ones.

    At most `cutoff`, and at most a quarter of the eligible patients: half of a library is not "most
    like this one". Never fewer than ten, below which nothing is counted.

    Examples
    --------
    >>> [n_most_similar(n, 31) for n in (377, 56, 20)]
    [31, 14, 10]

    """
    return min(cutoff, max(wording.MIN_PATIENTS, n_eligible // NEIGHBOR_SHARE))


def composition_guard(eligible: CompositionOfEligible) -> str | None:
    """Return why diagnoses are withheld, or None.

    Withheld when one diagnosis makes up more than half of the eligible patients, or fewer than 20
    of them carry a different one. A collection that makes up more than half is named only where
    that collection is not the whole library's only one and holds one dominant diagnosis, which the
    first rule sees.
    """
    if not eligible.n_by_diagnosis:
        return None
    key, n_of = max(eligible.n_by_diagnosis.items(), key=lambda item: (item[1], item[0]))
    display = eligible.displays.get(key, key)
    if n_of > DOMINANT_SHARE * eligible.n_patients:
        return wording.guard_sentence(wording.lower_first(display), n_of, eligible.n_patients)
    if eligible.n_diagnosed - n_of < MIN_OTHER_DIAGNOSES:
        return wording.guard_sentence(wording.lower_first(display), n_of, eligible.n_diagnosed)
    return None


def finding_statements(
    ranking: Ranking, *, eligible_kind: str, withhold_diagnoses: bool
) -> tuple[FindingStatement, ...]:
    """Return one statement per finding of the neighbours, the most frequent first.

    Parameters
    ----------
    ranking
        At most one case per patient, so that every count is of distinct patients.
    eligible_kind
        What the eligible cases have in common, as words of the sentence.
    withhold_diagnoses
        True under the composition guard: only signs on the film are stated.

    """
    n = len(ranking.hits)
    if n < wording.MIN_PATIENTS:
        return ()
    statements = []
    for (coding, is_diagnosis), n_with in _counts(ranking.hits).items():
        if is_diagnosis and withhold_diagnoses:
            continue
        interval = wilson_interval(n_with, n)
        n_eligible_with = ranking.eligible.n_by_finding.get(coding.key, 0)
        n_eligible = ranking.eligible.n_patients
        statements.append(
            FindingStatement(
                coding=coding,
                is_diagnosis=is_diagnosis,
                n_with=n_with,
                n=n,
                interval=interval,
                n_eligible_with=n_eligible_with,
                n_eligible=n_eligible,
                eligible_kind=eligible_kind,
                direction=direction_against(interval, n_eligible_with / n_eligible),
                sentence=wording.finding_sentence(
                    wording.lower_first(coding.display),
                    counts=(n_with, n),
                    interval=interval,
                    eligible=(n_eligible_with, n_eligible),
                    eligible_kind=eligible_kind,
                    is_diagnosis=is_diagnosis,
                ),
            )
        )
    statements.sort(key=lambda s: (-s.n_with, s.coding.display))
    kept = statements[:MAX_FINDINGS]
    return tuple(sorted(kept, key=lambda s: wording.is_absence(s.coding.display)))


def outcome_statements(hits: tuple[Hit, ...]) -> tuple[OutcomeStatement, ...]:
    """Return what became of the neighbours' patients; a proportion only from 10 known on."""
    known: dict[tuple[str, int | None], list[float]] = defaultdict(list)
    for hit in hits:
        for code, horizon, value in sorted(
            {(o.code, o.horizon_days, o.value) for o in hit.case.outcomes},
            key=lambda o: (o[0], o[1] or 0),
        ):
            known[code, horizon].append(value)
    years = _years(hits)
    statements = []
    for (code, horizon), values in known.items():
        if len(values) < wording.MIN_PATIENTS or code in NOT_COUNTED:
            continue
        if code in NUMBERS:
            statements.append(_number_statement(code, values, len(hits)))
        else:
            statements.append(_event_statement((code, horizon), values, len(hits), years))
    statements.sort(key=lambda s: (_outcome_order(s.code), -s.n_known, s.code, s.horizon_days or 0))
    return tuple(statements[:MAX_OUTCOMES])


def states_at_film(hits: tuple[Hit, ...]) -> tuple[str, ...]:
    """Return what was already true when the neighbours' films were taken; never an outcome."""
    counts: dict[str, int] = defaultdict(int)
    for hit in hits:
        for state in set(hit.case.states_at_film):
            counts[state] += 1
    return tuple(
        f"State at the film: {n} of {len(hits)} were already {state_phrase(state)}."
        for state, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def counter_example(hits: tuple[Hit, ...]) -> str | None:
    """Return the case id of the nearest case with another diagnosis than the nearest case's."""
    keys = [(hit.case.case_id, d.coding.key) for hit in hits if (d := hit.case.diagnosis)]
    return next((case_id for case_id, key in keys if key != keys[0][1]), None)


def age_band(case: LibraryCase) -> str:
    """Return ten-year bands; ages over 89 are grouped (SAFETY R-HIP-4).

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> known = datetime(2024, 1, 1, tzinfo=UTC)
    >>> [
    ...     age_band(LibraryCase("c", "x", "p", "s", age_years=a, known_at=known))
    ...     for a in (7, 64, 93, None)
    ... ]
    ['0-9', '60-69', '90 or older', 'not recorded']

    """
    if case.age_years is None:
        return "not recorded"
    if case.age_years >= 90:
        return "90 or older"
    decade = 10 * (case.age_years // 10)
    return f"{decade}-{decade + 9}"


def _outcome_order(code: str) -> int:
    return ORDER.index(code) if code in ORDER else len(ORDER)


def _counts(hits: tuple[Hit, ...]) -> dict[tuple[Coding, bool], int]:
    """Return patients by finding, and whether any of them has it as a diagnosis.

    What is a diagnosis in one case and a sign in another is worded as recorded: true of both.
    """
    counts: dict[str, int] = defaultdict(int)
    codings: dict[str, Coding] = {}
    diagnoses: set[str] = set()
    for hit in hits:
        findings = hit.case.findings
        for finding in findings:
            codings.setdefault(finding.coding.key, finding.coding)
        diagnoses |= {f.coding.key for f in findings if f.is_diagnosis}
        for key in {f.coding.key for f in findings}:
            counts[key] += 1
    return {(codings[key], key in diagnoses): n for key, n in counts.items()}


def _years(hits: tuple[Hit, ...]) -> tuple[int, int] | None:
    years = [hit.case.film_year for hit in hits if hit.case.film_year is not None]
    return (min(years), max(years)) if years else None


def _event_statement(
    what: tuple[str, int | None], values: list[float], n: int, years: tuple[int, int] | None
) -> OutcomeStatement:
    n_with = sum(value >= IS_EVENT for value in values)
    interval = wilson_interval(n_with, len(values))
    sentence = wording.outcome_sentence(
        event_phrase(*what), n=n, n_known=len(values), n_with=n_with, interval=interval, years=years
    )
    return OutcomeStatement(what[0], what[1], n, len(values), n_with, interval, sentence)


def _number_statement(code: str, values: list[float], n: int) -> OutcomeStatement:
    name, unit = NUMBERS[code]
    lower, median, upper = quantiles(values, n=4)
    sentence = (
        f"{name}: median {median:.0f} {unit} (quartiles {lower:.0f}-{upper:.0f}), "
        f"recorded for {len(values)} of these {n} patients. Do not use as a prognosis."
    )
    return OutcomeStatement(code, None, n, len(values), None, None, sentence)
