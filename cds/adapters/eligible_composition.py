"""Who may answer: distinct eligible patients, in all and by finding, diagnosis and collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cds.adapters.live_library import Part
from cds.domain.generation import GenerationTable, IntArray, TextArray
from cds.domain.ranking import CompositionOfEligible

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class EligibleCases:
    """The positions of a part's eligible cases, shape ``(e,)``."""

    part: Part
    positions: IntArray

    @property
    def table(self) -> GenerationTable:
        """Return the part's columns."""
        return self.part.generation.table

    @property
    def patients(self) -> IntArray:
        """Return the patients' numbers, shape ``(e,)``."""
        return self.part.patient[self.positions]

    def findings(self) -> tuple[TextArray, IntArray]:
        """Return coding key and patient of each finding of an eligible case."""
        table = self.table
        pairs = np.isin(table.finding_case, self.positions)
        if not pairs.any():
            return np.array([], dtype=np.str_), np.array([], dtype=np.int64)
        numbers, cases = table.finding_number[pairs], table.finding_case[pairs]
        return table.finding_key[numbers], self.part.patient[cases]


def composition(eligible: Sequence[EligibleCases]) -> CompositionOfEligible:
    """Count distinct eligible patients over every part."""
    patients = np.concatenate([one.patients for one in eligible])
    diagnoses = np.concatenate([one.table.case_diagnosis[one.positions] for one in eligible])
    collections = np.concatenate([one.table.case_collection[one.positions] for one in eligible])
    findings = [one.findings() for one in eligible]
    diagnosed = diagnoses != ""
    return CompositionOfEligible(
        n_patients=int(np.unique(patients).size),
        n_by_finding=_patients_by(
            np.concatenate([keys for keys, _ in findings]),
            np.concatenate([owners for _, owners in findings]),
        ),
        n_by_collection=_patients_by(collections, patients),
        n_by_diagnosis=_patients_by(diagnoses[diagnosed], patients[diagnosed]),
        n_diagnosed=int(np.unique(patients[diagnosed]).size),
        displays={
            key: display
            for one in eligible
            for key, display in zip(
                one.table.finding_key.tolist(), one.table.finding_display.tolist(), strict=True
            )
        },
    )


def cases_of(table: GenerationTable, rows: BoolArray) -> BoolArray:
    """Return which cases have one of the rows, shape ``(c,)``."""
    cases = np.zeros(table.case_id.shape, dtype=np.bool_)
    cases[table.row_case[rows]] = True
    return cases


def _patients_by(labels: NDArray[np.str_], patients: IntArray) -> dict[str, int]:
    names, numbers = np.unique(labels, return_inverse=True)
    unique = np.unique(np.stack([numbers.ravel(), patients]), axis=1)
    counts = np.bincount(unique[0], minlength=names.size) if unique.size else np.zeros(0, np.int64)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}
