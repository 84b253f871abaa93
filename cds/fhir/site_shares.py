"""How well a site's resources are coded, in counts: for the readiness report, free of PHI."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cds.domain.coding import LOINC, UCUM
from cds.domain.lab_catalogue import catalogue_row
from cds.fhir.observation import is_ignored
from cds.fhir.shapes import Resource, codings, items, mapping, text

_OFFSET = re.compile(r"^\d{4}-\d{2}-\d{2}T[\d:.]+(?P<offset>Z|[+-]\d{2}:\d{2})?$")
_TIMED = ("effectiveDateTime", "issued", "started")
NO_CODE = "(no code)"


@dataclass(slots=True)
class LabShares:
    """Counts over laboratory values and vital signs.

    Attributes
    ----------
    n_quantities
        Values that are numbers; only these can carry a unit.
    unmapped
        ``system|code`` of values without LOINC -> how often.

    """

    n: int = 0
    n_loinc: int = 0
    n_catalogue: int = 0
    n_quantities: int = 0
    n_ucum: int = 0
    unmapped: Counter[str] = field(default_factory=Counter)

    def add(self, observations: Iterable[Resource]) -> None:
        """Count further Observations; a panel is counted by its parts."""
        for observation in observations:
            if is_ignored(observation):
                continue
            parts = items(observation.get("component"))
            for part in parts or (observation,):
                self._count(part)

    def _count(self, part: Resource) -> None:
        self.n += 1
        codes = [c for c in codings(part.get("code")) if text(c.get("code"))]
        loinc = [str(c["code"]) for c in codes if c.get("system") == LOINC]
        self.n_loinc += bool(loinc)
        self.n_catalogue += any(catalogue_row(code) for code in loinc)
        if not loinc:
            local = codes[0] if codes else {}
            system = text(local.get("system")) or "(no system)"
            self.unmapped[f"{system}|{local['code']}" if codes else NO_CODE] += 1
        quantity = mapping(part.get("valueQuantity"))
        if quantity:
            self.n_quantities += 1
            self.n_ucum += quantity.get("system") == UCUM and bool(text(quantity.get("code")))


def written_offsets(resources: Iterable[Resource]) -> Counter[str]:
    """Return how often each UTC offset is written; ``none`` is a time without one.

    Examples
    --------
    >>> sorted(written_offsets([{"issued": "2026-01-05T06:41:00+01:00"}, {"started": "2026-01"}]))
    ['+01:00']

    """
    return Counter(
        match["offset"] or "none"
        for value in _times(resources)
        if (match := _OFFSET.match(value)) is not None
    )


def _times(resources: Iterable[Resource]) -> Iterator[str]:
    for resource in resources:
        for name in _TIMED:
            value: Any = resource.get(name)
            if isinstance(value, str):
                yield value
