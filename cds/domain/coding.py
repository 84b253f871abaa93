"""A code with its system and display, and the systems that we use."""

from __future__ import annotations

from dataclasses import dataclass

SNOMED_CT = "http://snomed.info/sct"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
LOCAL = "https://precedent.example.invalid/CodeSystem/local"


@dataclass(frozen=True, slots=True, order=True)
class Coding:
    """A coded concept; `display` is always there, the code only where one exists.

    Examples
    --------
    >>> Coding("Pneumothorax", "36118008").key
    '36118008'
    >>> Coding("Free subdiaphragmatic air").key
    'free subdiaphragmatic air'

    """

    display: str
    code: str | None = None
    system: str | None = SNOMED_CT

    def __post_init__(self) -> None:
        if not self.display.strip():
            raise ValueError("a coding needs a display text")
        if self.code is None and self.system is not None:
            object.__setattr__(self, "system", None)

    @property
    def key(self) -> str:
        """Return what makes two codings the same concept here."""
        return self.code if self.code is not None else self.display.strip().casefold()
