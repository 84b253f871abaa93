"""Search parameters of DiagnosticReport: read, checked, applied; unknown ones are ignored."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cds.domain.errors import CdsError, Reason

DEFAULT_COUNT = 20
MAX_COUNT = 100
_PATIENT = re.compile(r"(?:(?P<base>https?://.+/)?Patient/)?(?P<id>[A-Za-z0-9\-.]{1,64})")
_TOKENS = ("_id", "category", "code", "identifier", "status")
_CONTROL = ("_count", "_format", "_offset", "_pretty")
Parameters = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ReportSearch:
    """One search, as understood.

    Attributes
    ----------
    filters
        Name -> alternatives of each occurrence; occurrences are AND-ed, alternatives OR-ed.
    offset, count
        The page.

    """

    patient_id: str
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    offset: int = 0
    count: int = DEFAULT_COUNT

    @classmethod
    def from_parameters(
        cls, parameters: Parameters, *, fhir_base_url: str, is_strict: bool
    ) -> ReportSearch:
        """Read the parameters of URL and body.

        Parameters
        ----------
        parameters
            Name -> values in the order given.
        fhir_base_url
            Base of the EHR whose Patients an absolute reference may name.
        is_strict
            ``Prefer: handling=strict``: an unknown parameter is refused, else it is ignored.

        Raises
        ------
        CdsError
            INVALID_REQUEST if ``patient`` is missing or malformed, a value cannot be read, or an
            unknown parameter is given in strict handling.

        References
        ----------
        FHIR R4, search: Handling Errors, Token, Reference.

        """
        unknown = sorted(set(parameters) - {"patient", "subject", *_TOKENS, *_CONTROL})
        if unknown and is_strict:
            raise CdsError(
                Reason.INVALID_REQUEST, "A search parameter is not supported (handling=strict)."
            )
        patients = (*parameters.get("patient", ()), *parameters.get("subject", ()))
        return cls(
            patient_id=_one_patient(patients, fhir_base_url),
            filters=tuple(
                (name, tuple(value.split(",")))
                for name in _TOKENS
                for value in parameters.get(name, ())
            ),
            offset=_number(parameters, "_offset", 0),
            count=min(_number(parameters, "_count", DEFAULT_COUNT), MAX_COUNT),
        )

    def matches(self, resource: Mapping[str, Any]) -> bool:
        """Tell whether a DiagnosticReport passes every filter."""
        return all(
            any(_token_matches(alternative, _codes(resource, name)) for alternative in alternatives)
            for name, alternatives in self.filters
        )

    def query(self, *, offset: int) -> list[tuple[str, str]]:
        """Return the parameters that were used, for the links of the answer."""
        pairs = [("patient", f"Patient/{self.patient_id}")]
        pairs += [(name, ",".join(alternatives)) for name, alternatives in self.filters]
        pairs.append(("_count", str(self.count)))
        return [*pairs, ("_offset", str(offset))] if offset else pairs


def _one_patient(values: Iterable[str], fhir_base_url: str) -> str:
    ids = set()
    for value in values:
        match = _PATIENT.fullmatch(value)
        base = match["base"] if match else None
        if match is None or (base is not None and base.rstrip("/") != fhir_base_url.rstrip("/")):
            raise CdsError(Reason.INVALID_REQUEST, "patient must name one Patient of this EHR.")
        ids.add(match["id"])
    if len(ids) != 1:
        raise CdsError(
            Reason.INVALID_REQUEST, "The search parameter patient is required, for one patient."
        )
    return ids.pop()


def _number(parameters: Parameters, name: str, default: int) -> int:
    values = parameters.get(name, ())
    if not values:
        return default
    if len(values) > 1 or re.fullmatch(r"[0-9]{1,6}", values[0]) is None:
        raise CdsError(Reason.INVALID_REQUEST, f"{name} must be one whole number.")
    return int(values[0])


def _token_matches(wanted: str, codes: Iterable[tuple[str | None, str | None]]) -> bool:
    """Tell whether ``code``, ``system|code``, ``|code`` or ``system|`` is among the codes."""
    system, bar, code = wanted.rpartition("|")
    for given_system, given_code in codes:
        is_system = not bar or (given_system or "") == system
        if is_system and (given_code == code or (bar and not code and bool(system))):
            return True
    return False


def _codes(resource: Mapping[str, Any], name: str) -> list[tuple[str | None, str | None]]:
    return _READERS[name](resource)


def _codings(concepts: Iterable[Mapping[str, Any]]) -> list[tuple[str | None, str | None]]:
    return [
        (coding.get("system"), coding.get("code"))
        for concept in concepts
        for coding in concept.get("coding", ())
    ]


_READERS: Mapping[str, Callable[[Mapping[str, Any]], list[tuple[str | None, str | None]]]] = {
    "_id": lambda r: [(None, r.get("id"))],
    "status": lambda r: [("http://hl7.org/fhir/diagnostic-report-status", r.get("status"))],
    "code": lambda r: _codings([r.get("code", {})]),
    "category": lambda r: _codings(r.get("category", ())),
    "identifier": lambda r: [(i.get("system"), i.get("value")) for i in r.get("identifier", ())],
}
