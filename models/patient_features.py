"""Age, sex, labs and vitals as the record block: an explicit feature map with a fixed denominator.

Each value is placed on its catalogue axis and spread over Gaussian bumps, scaled to unit norm.
The inner product of two records is then a weighted mean of per-measurement kernels in [0, 1], over
*all* catalogue weights: what either side lacks adds nothing, so that sharing a missing value never
makes two patients alike, and masking the same values on both sides never raises the similarity.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from cds.domain.facts import PatientFacts, SharedFact
from cds.domain.lab_catalogue import CatalogueRow, catalogue

Float32Array = NDArray[np.float32]

FEATURE_VERSION = "record-1"
AXIS_LIMIT = 4.0  # spreads; beyond it a value is as extreme as the axis tells apart
N_BUMPS = 17  # one every half spread
BUMP_WIDTH = 0.7  # spreads; values one spread apart then have a kernel of about 0.6
AGE_CENTRE_YEARS = 55.0
AGE_SPREAD_YEARS = 15.0
AGE_WEIGHT = 1.0
SEX_WEIGHT = 0.5
_SEXES = ("male", "female")
_CENTRES = np.linspace(-AXIS_LIMIT, AXIS_LIMIT, N_BUMPS)


class CataloguePatientFeatures:
    """The record block over the laboratory catalogue; stateless, fitted to no library.

    Examples
    --------
    >>> from cds.domain.facts import Measurement
    >>> features = CataloguePatientFeatures()
    >>> a = features.vector(PatientFacts(67, "male", (Measurement("1988-5", 165.0, "mg/L"),)))
    >>> b = features.vector(PatientFacts(None, "unknown", ()))
    >>> a.shape == (features.dimension,), b is None
    (True, True)

    """

    def __init__(self) -> None:
        self._rows = tuple(row for row in catalogue() if row.weight > 0)
        self._weights = {row.code: row.weight for row in self._rows}
        self._total = AGE_WEIGHT + SEX_WEIGHT + sum(self._weights.values())
        self._offsets = {
            row.code: (1 + i) * N_BUMPS + len(_SEXES) for i, row in enumerate(self._rows)
        }

    @property
    def version(self) -> str:
        """Return which definition of the block this is."""
        return FEATURE_VERSION

    @property
    def dimension(self) -> int:
        """Return r, the length of the record block."""
        return (1 + len(self._rows)) * N_BUMPS + len(_SEXES)

    def vector(self, facts: PatientFacts) -> Float32Array | None:
        """Return the record block.

        Parameters
        ----------
        facts
            Age in completed years, FHIR administrative gender, catalogue measurements. Of several
            measurements with one code the first counts: the caller orders them.

        Returns
        -------
        numpy.ndarray or None
            Shape ``(r,)``, float32, norm at most 1; None if no feature is known.

        """
        block = np.zeros(self.dimension, dtype=np.float32)
        if facts.age_years is not None:
            position = (facts.age_years - AGE_CENTRE_YEARS) / AGE_SPREAD_YEARS
            block[:N_BUMPS] = sqrt(AGE_WEIGHT / self._total) * _bumps(position)
        if facts.sex in _SEXES:
            block[N_BUMPS + _SEXES.index(facts.sex)] = sqrt(SEX_WEIGHT / self._total)
        for row, value in self._values(facts).items():
            offset = self._offsets[row.code]
            weight = sqrt(row.weight / self._total)
            block[offset : offset + N_BUMPS] = weight * _bumps(row.axis_position(value))
        return block if block.any() else None

    def presence(self, facts: PatientFacts) -> Float32Array:
        """Return which features are known, each as the square root of its share of all weights.

        Returns
        -------
        numpy.ndarray
            Shape ``(2 + number of rows,)``, float32: age, sex, then the catalogue rows. The inner
            product of two of them is the share of the block that both sides have, in [0, 1].

        """
        weights = [
            AGE_WEIGHT if facts.age_years is not None else 0.0,
            SEX_WEIGHT if facts.sex in _SEXES else 0.0,
        ]
        known = self._values(facts)
        weights += [row.weight if row in known else 0.0 for row in self._rows]
        return np.sqrt(np.array(weights) / self._total).astype(np.float32)

    def shared(self, query: PatientFacts, case: PatientFacts) -> tuple[SharedFact, ...]:
        """Return the measurements that both sides have, strongest contribution first.

        Agreement is worth showing only where at least one side is outside the reference range:
        a sodium of 139 and one of 140 agree in everybody (CLINICAL 1.5).
        """
        theirs = self._values(case)
        facts = []
        for row, value in self._values(query).items():
            other = theirs.get(row)
            if other is None or not (row.is_abnormal(value) or row.is_abnormal(other)):
                continue
            kernel = float(_bumps(row.axis_position(value)) @ _bumps(row.axis_position(other)))
            facts.append(
                SharedFact(row.display, row.unit, value, other, kernel * row.weight / self._total)
            )
        return tuple(sorted(facts, key=lambda fact: -fact.contribution))

    def _values(self, facts: PatientFacts) -> dict[CatalogueRow, float]:
        first: dict[str, float] = {}
        for measurement in facts.measurements:
            first.setdefault(measurement.code, measurement.value)
        return {row: first[row.code] for row in self._rows if row.code in first}


def _bumps(position: float) -> Float32Array:
    """Return shape ``(N_BUMPS,)``, unit norm: a value spread over the axis."""
    clipped = min(max(position, -AXIS_LIMIT), AXIS_LIMIT)
    heights = np.exp(-0.5 * ((clipped - _CENTRES) / BUMP_WIDTH) ** 2)
    unit: Float32Array = (heights / np.linalg.norm(heights)).astype(np.float32)
    return unit
