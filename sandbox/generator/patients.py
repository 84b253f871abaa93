"""The library's patients and their films: drawn from the tables, before any picture is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from sandbox.generator.anatomy import Habitus, draw_habitus
from sandbox.generator.conditions import (
    Condition,
    Part,
    conditions,
    draw_age,
    draw_devices,
    draw_part,
    film_signs,
)
from sandbox.generator.history import HistoryItem, draw_history
from sandbox.generator.labs import Lab, LabSituation, draw_labs
from sandbox.generator.outcomes import OutcomeItem, draw_outcomes, draw_state
from sandbox.generator.parameters import parameters
from sandbox.generator.places import SignSpec
from sandbox.generator.thorax import FilmPlan, draw_plan

_FILMS, _FILM_SHARES = (2, 3, 4, 5), (0.60, 0.24, 0.11, 0.05)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the record calls the case, and how it was confirmed."""

    code: str
    display: str
    proof: str
    recorded_at: datetime

    def text(self) -> str:
        """Return the table's spelling."""
        return f"{'sct' if self.code else ''}|{self.code}|{self.display}"


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One case: one film of one patient with what is known of it.

    Attributes
    ----------
    case_number, patient_number
        As the table shows them.
    person
        Who it really is: two numbers may be one person.
    condition_key, part
        What the patient really has; `diagnosis` may be wrong.
    plan, seed
        Make the picture again, exactly.
    near_duplicate_of
        Case number whose picture this one repeats, or empty.

    """

    case_number: str
    patient_number: str
    person: int
    is_site_b: bool
    condition_key: str
    part: str
    film_at: datetime
    view: str
    age_years: int
    sex: str
    plan: FilmPlan
    seed: int
    diagnosis: Diagnosis
    is_wrong_label: bool
    labs: tuple[Lab, ...]
    history: tuple[HistoryItem, ...]
    outcomes: tuple[OutcomeItem, ...]
    state_at_film: tuple[str, ...]
    near_duplicate_of: str = ""

    @property
    def known_at(self) -> datetime:
        """Return when the whole row was known."""
        last = max((item.observed_on for item in self.outcomes), default=self.film_at.date())
        return max(self.diagnosis.recorded_at, datetime.combine(last, time(23, 59), tzinfo=UTC))


def _film_time(condition: Condition, rng: np.random.Generator) -> datetime:
    table = parameters("conditions")["film"]
    first = table["covid_from"] if condition.key == "covid" else table["first_on"]
    start, end = date.fromisoformat(first), date.fromisoformat(table["last_on"])
    day = start + timedelta(days=int(rng.integers((end - start).days)))
    return datetime.combine(day, time(int(rng.integers(24)), int(rng.integers(60))), tzinfo=UTC)


def _proof(condition: Condition, rng: np.random.Generator) -> str:
    at = float(rng.random())
    for proof, share in condition.table["proof"].items():
        if at < share:
            return str(proof)
        at -= share
    return "clinical"


def _diagnosis(
    condition: Condition, part: Part, last_film_at: datetime, rng: np.random.Generator
) -> tuple[Diagnosis, bool]:
    """Return the recorded diagnosis, and whether it is a wrong label from the look-alike group."""
    table = parameters("conditions")["library"]
    recorded = (last_film_at + timedelta(hours=float(rng.uniform(3, 150)))).replace(
        second=0, microsecond=0
    )
    code, display = (
        (part.code, part.display) if part.display else (condition.code, condition.display)
    )
    if part.name == "infected" and rng.random() < 0.18 / 0.50:
        code, display = "58554001", "Empyema"
    others = [
        c for c in conditions().values() if c.group == condition.group and c.key != condition.key
    ]
    is_wrong = rng.random() < table["wrong_label_share"] and bool(others)
    if is_wrong:
        other = others[int(rng.integers(len(others)))]
        code, display = other.code, other.display
    proof = _proof(condition, rng)
    if rng.random() < table["report_only_share"]:
        proof = "report"
    elif is_wrong or proof == "":
        proof = "clinical"
    return Diagnosis(code, display, proof, recorded), is_wrong


def _changed(signs: tuple[SignSpec, ...], rng: np.random.Generator) -> tuple[SignSpec, ...]:
    """Return the same signs a little larger or smaller, as on the next film of a series."""
    return tuple(
        replace(s, size=float(np.clip(s.size * rng.normal(0.95, 0.2), 0.02, 1.0))) for s in signs
    )


@dataclass(frozen=True, slots=True)
class _Patient:
    person: int
    number: int
    condition: Condition
    n_films: int
    seed: int


@dataclass(frozen=True, slots=True)
class _Person:
    """What all films of one patient share."""

    patient: _Patient
    number: str
    is_site_b: bool
    part: Part
    age_years: int
    sex: str
    habitus: Habitus
    diagnosis: Diagnosis
    is_wrong_label: bool
    history: tuple[HistoryItem, ...]


def _draw_series(patient: _Patient) -> list[CaseRecord]:
    """Draw all films of one patient."""
    rng = np.random.default_rng((patient.seed, patient.person))
    person, times = _draw_person(patient, rng)
    series: list[CaseRecord] = []
    for index, film_at in enumerate(times):
        earlier = series[-1].plan.signs if series else None
        case_number = f"{person.number}-{index + 1}"
        series.append(_draw_film(person, case_number, film_at, earlier, rng))
    return series


def _draw_person(
    patient: _Patient, rng: np.random.Generator
) -> tuple[_Person, tuple[datetime, ...]]:
    """Draw what the films share, and when they were made."""
    condition = patient.condition
    part = draw_part(condition, rng)
    is_site_b = bool(rng.random() < parameters("conditions")["library"]["site_b_share"])
    age = draw_age(condition, rng)
    sex = "male" if rng.random() < condition.table["male"] else "female"
    habitus = draw_habitus(rng, sex=sex, age_years=age)
    first_at = _film_time(condition, rng)
    gaps = np.concatenate([[0.0], np.cumsum(rng.uniform(0.7, 2.5, patient.n_films - 1))])
    times = tuple(first_at + timedelta(minutes=int(gap * 1440)) for gap in gaps)
    diagnosis, is_wrong = _diagnosis(condition, part, times[-1], rng)
    person = _Person(
        patient=patient,
        number=f"{'B' if is_site_b else 'A'}-{patient.number}",
        is_site_b=is_site_b,
        part=part,
        age_years=age,
        sex=sex,
        habitus=habitus,
        diagnosis=diagnosis,
        is_wrong_label=is_wrong,
        history=draw_history(condition, part, age, first_at, rng),
    )
    return person, times


def _draw_film(
    person: _Person,
    case_number: str,
    film_at: datetime,
    earlier: tuple[SignSpec, ...] | None,
    rng: np.random.Generator,
) -> CaseRecord:
    """Draw one film; its signs develop from those of the `earlier` one."""
    condition, part, is_site_b = person.patient.condition, person.part, person.is_site_b
    state = draw_state(condition, rng)
    is_ventilated = "ventilated" in state
    view = "AP" if is_ventilated or rng.random() < condition.table["ap_share"] else "PA"
    signs = film_signs(condition, part, view, rng) if earlier is None else _changed(earlier, rng)
    devices = draw_devices(condition, view, rng, is_ventilated=is_ventilated)
    situation = LabSituation(condition, part, film_at, is_ventilated, is_site_b)
    return CaseRecord(
        case_number=case_number,
        patient_number=person.number,
        person=person.patient.person,
        is_site_b=is_site_b,
        condition_key=condition.key,
        part=part.name,
        film_at=film_at,
        view=view,
        age_years=person.age_years,
        sex=person.sex,
        plan=draw_plan(
            rng, person.habitus, view=view, signs=signs, devices=devices, is_site_b=is_site_b
        ),
        seed=int(rng.integers(2**62)),
        diagnosis=person.diagnosis,
        is_wrong_label=person.is_wrong_label,
        labs=draw_labs(situation, rng),
        history=person.history,
        outcomes=draw_outcomes(condition, part, film_at.date(), state, rng),
        state_at_film=state,
    )


def _near_duplicate(
    source: CaseRecord, index: int, new_number: int, rng: np.random.Generator
) -> CaseRecord:
    """Return a second export of a case, under the same number or a new one by turns."""
    number = source.patient_number if index % 2 == 0 else f"{source.patient_number[:2]}{new_number}"
    return replace(
        source,
        case_number=f"{number}-{6 + index % 3}",
        patient_number=number,
        near_duplicate_of=source.case_number,
        film_at=source.film_at + timedelta(minutes=int(rng.integers(1, 5))),
    )


def _sizes(condition: Condition, n_cases: int, rng: np.random.Generator) -> list[int]:
    """Split a condition's cases into patients with one film, or two to five."""
    share = parameters("conditions")["library"]["serial_share"]
    sizes: list[int] = []
    while (left := n_cases - sum(sizes)) > 0:
        is_serial = rng.random() < share and condition.group != "+"
        sizes.append(min(int(rng.choice(_FILMS, p=_FILM_SHARES)) if is_serial else 1, left))
    return sizes


def _give_second_numbers(cases: list[CaseRecord], new_numbers: list[int]) -> list[CaseRecord]:
    """Give the last film of some people with several films another patient number."""
    films: dict[int, list[int]] = {}
    for index, case in enumerate(cases):
        films.setdefault(case.person, []).append(index)
    serial = [indices for indices in films.values() if len(indices) > 1]
    serial = serial[:: max(1, len(serial) // len(new_numbers))]
    changed = list(cases)
    for new_number, indices in zip(new_numbers, serial, strict=False):
        case = cases[indices[-1]]
        number = f"{case.patient_number[:2]}{new_number}"
        changed[indices[-1]] = replace(case, patient_number=number, case_number=f"{number}-1")
    return changed


def draw_cases(seed: int, n: int | None = None) -> tuple[CaseRecord, ...]:
    """Draw the library's cases.

    Parameters
    ----------
    seed
        Decides everything.
    n
        Number of cases; None takes the table's (620). Other sizes keep the proportions, with at
        least one of each condition.

    Returns
    -------
    tuple of CaseRecord
        In a shuffled order, so that a row's place tells nothing.

    """
    rng = np.random.default_rng(seed)
    table = parameters("conditions")["library"]
    total = sum(c.n_cases for c in conditions().values())
    cases: list[CaseRecord] = []
    copies: list[CaseRecord] = []
    numbers = [
        int(v) for v in rng.choice(np.arange(10000, 100000), 2 * max(total, n or 0), replace=False)
    ]
    person = 0
    for condition in conditions().values():
        wanted = condition.n_cases if n is None else max(1, round(condition.n_cases * n / total))
        n_copies = round(wanted * table["near_duplicate_share"])
        own: list[CaseRecord] = []
        for size in _sizes(condition, wanted - n_copies, rng):
            person += 1
            own += _draw_series(_Patient(person, numbers.pop(), condition, size, seed))
        for source in rng.choice(len(own), n_copies, replace=False):
            copies.append(_near_duplicate(own[int(source)], len(copies) + 1, numbers.pop(), rng))
        cases += own
    copied = {copy.near_duplicate_of for copy in copies}
    apart = [c for c in cases if c.case_number not in copied]
    kept = [c for c in cases if c.case_number in copied]
    everything = _give_second_numbers(apart, numbers[: int(table["n_two_numbers"])]) + kept + copies
    order = rng.permutation(len(everything))
    return tuple(everything[int(i)] for i in order)
