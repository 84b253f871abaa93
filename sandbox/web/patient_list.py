"""The patient list: who is here, why, and whether a film waits to be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.web.chart import Banner, ImagingRow, banner, read_imaging

if TYPE_CHECKING:
    from sandbox.web.hospital import Hospital


@dataclass(frozen=True, slots=True)
class PatientRow:
    """One line of the list; `case` is the number in the sandbox's guide."""

    banner: Banner
    imaging: ImagingRow | None
    case: str


def patient_rows(hospital: Hospital) -> tuple[PatientRow, ...]:
    """Return every patient, those of the guide first and in its order."""
    rows = []
    for patient in hospital.store.all_of("Patient"):
        studies = read_imaging(hospital.store, patient["id"])
        case = hospital.guide.get(patient["id"], ("", "", ""))[0]
        rows.append(
            PatientRow(banner(hospital.store, patient), studies[0] if studies else None, case)
        )
    return tuple(sorted(rows, key=lambda row: (_order(row.case), row.banner.name)))


def _order(case: str) -> tuple[int, int, str]:
    is_numbered = case[:1] == "P" and case[1:].isdigit()
    return (0, int(case[1:]), "") if is_numbered else (1 if case else 2, 0, case)
