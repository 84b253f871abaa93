"""The patients to try as values: who they are, and the identifiers that tie things together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sandbox.generator.library import DEFAULT_SEED
from sandbox.generator.parameters import parameters
from sandbox.generator.patients import draw_cases


@dataclass(frozen=True, slots=True)
class Hospital:
    """The systems and issuer under which a hospital's numbers live."""

    name: str
    mrn_system: str
    accession_system: str
    issuer: str


def hospital(*, is_neighbour: bool = False) -> Hospital:
    """Return the hospital, or its neighbour (the second tenant)."""
    t = parameters("tryout")["hospital"]
    if is_neighbour:
        system = str(t["neighbour_mrn_system"])
        return Hospital(
            t["neighbour_name"], system, system.replace("/mrn", "/accession"), t["neighbour_issuer"]
        )
    return Hospital(t["name"], t["mrn_system"], t["accession_system"], t["issuer"])


@dataclass(frozen=True, slots=True)
class TryoutPatient:
    """One patient of ``tryout.toml`` at one `now`.

    Attributes
    ----------
    table
        The patient's entry as written.
    number
        Position in the list, from 1.
    film_at
        None without imaging.

    """

    table: Mapping[str, Any]
    number: int
    now: datetime
    seed: int
    hospital: Hospital
    mrn: str

    @property
    def patient_id(self) -> str:
        """Return the FHIR logical id."""
        return str(self.table["id"])

    @property
    def film(self) -> Mapping[str, Any] | None:
        """Return the film's entry, or None without imaging."""
        return self.table.get("film")

    @property
    def film_at(self) -> datetime:
        """Return when the film was taken; `now` where there is none."""
        film = self.film or {"hours_ago": 0.0}
        if "at" not in film:
            moved = self.now - timedelta(hours=float(film["hours_ago"]))
            return moved.replace(second=0, microsecond=0)
        hour, minute = (int(part) for part in film["at"].split(":"))
        today = self.now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        return today if today <= self.now else today - timedelta(days=1)

    @property
    def birth_date(self) -> date:
        """Return a birth date that makes the age true at `now`."""
        days = 20 + 37 * self.number
        anniversary = (self.now - timedelta(days=days % 330)).date()
        year = anniversary.year - int(self.table["age"])
        return anniversary.replace(year=year, day=min(anniversary.day, 28))

    def uid(self, what: str) -> str:
        """Return a DICOM UID under 2.25 that depends on seed, tenant, patient and `what` only."""
        text = f"{self.seed}|{self.hospital.issuer}|{self.patient_id}|{what}"
        return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:15], 'big')}"

    @property
    def study_instance_uid(self) -> str:
        """Return the study's UID."""
        return self.uid("study")

    @property
    def accession_number(self) -> str:
        """Return the accession number of the film's order."""
        return f"{self.hospital.issuer[0]}{self.film_at:%y}{7300 + self.number:05d}"


def _library_number() -> str:
    """Return the number of a library patient of the first hospital: who asks for erasure."""
    return min(c.patient_number for c in draw_cases(DEFAULT_SEED) if not c.is_site_b)


def tryout_patients(now: datetime, seed: int) -> tuple[TryoutPatient, ...]:
    """Return the twelve patients and the fixtures of the first hospital."""
    home = hospital()
    found = []
    for number, table in enumerate(parameters("tryout")["patient"], start=1):
        mrn = _library_number() if table.get("is_in_library") else f"T-{20100 + 7 * number}"
        found.append(TryoutPatient(table, number, now, seed, home, mrn))
    return tuple(found)


def neighbour_patients(now: datetime, seed: int) -> tuple[TryoutPatient, ...]:
    """Return the patients of the second tenant."""
    away = hospital(is_neighbour=True)
    return tuple(
        TryoutPatient(table, number, now, seed, away, f"N-{50100 + 11 * number}")
        for number, table in enumerate(parameters("tryout")["neighbour"], start=1)
    )
