"""One matched case as a card: de-identified, on the app page only (SAFETY R-HIP-7)."""

from __future__ import annotations

from dataclasses import dataclass

from cds.domain.facts import Finding, SharedFact
from cds.domain.key_slices import SlicePlace
from cds.domain.lab_catalogue import catalogue
from cds.domain.report import Neighbor
from cds.domain.value_text import number_text, unit_text

N_SHARED_ROWS = 6  # what a glance takes in; the strongest contributions come first

PROOFS = {
    "histology": "proved by histology",
    "culture": "proved by culture or NAAT",
    "clinical": "clinical diagnosis",
    "report": "by report only",
}
VIEWLESS = frozenset({"not recorded", "other"})
NO_PROOF = "how it was confirmed is not recorded"


@dataclass(frozen=True, slots=True)
class Bar:
    """A similarity as text, with the length of its thin bar, 0 to 100."""

    label: str
    text: str
    length: float


@dataclass(frozen=True, slots=True)
class SharedRow:
    """One value on both sides; the flags are ``above``, ``below`` or empty."""

    name: str
    unit: str
    query_text: str
    query_flag: str
    case_text: str
    case_flag: str


@dataclass(frozen=True, slots=True, repr=False)
class MatchCard:
    """What the template prints of one case."""

    neighbor: Neighbor
    bars: tuple[Bar, ...]
    diagnosis: str
    proof: str
    signs: str
    who: str
    film: str
    query_slice: str | None
    rows: tuple[SharedRow, ...]
    more_rows: tuple[SharedRow, ...]

    def __repr__(self) -> str:
        return f"MatchCard({self.neighbor.rank}, <redacted>)"


def match_card(neighbor: Neighbor) -> MatchCard:
    """Work out one card."""
    rows = tuple(map(_shared_row, neighbor.shared))
    diagnosis = next((f for f in neighbor.findings if f.is_diagnosis), None)
    signs = [f.coding.display for f in neighbor.findings if not f.is_diagnosis]
    year = "year not recorded" if neighbor.film_year is None else str(neighbor.film_year)
    return MatchCard(
        neighbor=neighbor,
        bars=_bars(neighbor),
        diagnosis=diagnosis.coding.display if diagnosis else "Diagnosis not recorded",
        proof=_proof(diagnosis),
        signs=", ".join(signs),
        who=f"Age {neighbor.age_band}, sex {neighbor.sex}",
        film=f"{_picture_text(neighbor)}, {year}",
        query_slice=slice_text(neighbor.query_place) if neighbor.query_place else None,
        rows=rows[:N_SHARED_ROWS],
        more_rows=rows[N_SHARED_ROWS:],
    )


def bar_of(label: str, similarity: float | None) -> Bar:
    """Return a bar; a similarity below zero has none.

    Examples
    --------
    >>> bar_of("Picture", 0.934)
    Bar(label='Picture', text='0.93', length=93.4)
    >>> bar_of("Picture", None).text
    'not compared'

    """
    if similarity is None:
        return Bar(label, "not compared", 0.0)
    return Bar(label, f"{similarity:.2f}", round(100 * min(1.0, max(0.0, similarity)), 1))


def _bars(neighbor: Neighbor) -> tuple[Bar, ...]:
    return (
        bar_of("Together", neighbor.similarity),
        bar_of("Picture", neighbor.image_similarity),
        bar_of("Labs, history", neighbor.record_similarity),
    )


def slice_text(place: SlicePlace) -> str:
    """Return which slice a picture is.

    Examples
    --------
    >>> slice_text(SlicePlace(12, 40, "slice position"))
    'slice 12 of 40'

    """
    return f"slice {place.number} of {place.n_slices}"


def _picture_text(neighbor: Neighbor) -> str:
    if neighbor.case_place is not None:
        return slice_text(neighbor.case_place)
    if neighbor.query_place is not None:
        return "slice, its number not recorded"
    if neighbor.view in VIEWLESS:
        return "view not recorded"
    return f"{neighbor.view} film"


def _proof(diagnosis: Finding | None) -> str:
    return PROOFS.get(diagnosis.proof, NO_PROOF) if diagnosis else ""


def _shared_row(fact: SharedFact) -> SharedRow:
    return SharedRow(
        name=fact.display,
        unit=unit_text(fact.unit),
        query_text=number_text(fact.query_value),
        query_flag=_flag(fact.display, fact.query_value),
        case_text=number_text(fact.case_value),
        case_flag=_flag(fact.display, fact.case_value),
    )


def _flag(display: str, value: float) -> str:
    """Return on which side of the catalogue's reference range a value lies."""
    row = next((r for r in catalogue() if r.display == display), None)
    if row is None or not row.is_abnormal(value):
        return ""
    return "above" if value > row.reference[1] else "below"
