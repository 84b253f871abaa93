"""Who is kept out of a hospital's library: by a list, by a consent, by a security label."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cds.domain.archive import ArchivedStudy
from cds.domain.errors import CdsError, Reason
from cds.domain.identity import own_namespace
from cds.domain.recorded_case import RecordedCase
from cds.domain.registration import EhrRegistration
from cds.library.archive_ports import OptOuts
from cds.ports import IdentityKeys

BY_LIST, BY_RECORD = "list", "record"
OPT_OUT_LIST = "opt-out list"
MAX_LIST_BYTES = 64 * 1024 * 1024


class KeptOut:
    """Compares patients with the opt-outs of one EHR, by keyed hashes of their numbers.

    Parameters
    ----------
    opt_outs, keys
        Where opt-outs are kept, and how numbers are hashed.
    registration
        The EHR.

    """

    def __init__(
        self, opt_outs: OptOuts, keys: IdentityKeys, registration: EhrRegistration
    ) -> None:
        self._opt_outs = opt_outs
        self._keys = keys
        self._registration = registration
        self._considered: set[str] = set()

    def add_list(self, entries: Iterable[tuple[str | None, str]]) -> int:
        """Keep out the patients of a list; returns how many entries it had.

        Parameters
        ----------
        entries
            Identifier system and number; no system means the EHR's own number, however it is
            spelled by PACS and record.

        """
        listed = list(entries)
        self._opt_outs.add(self._registration.ehr_id, self._of_list(listed), source=BY_LIST)
        return len(listed)

    def consider(self, entries: Iterable[tuple[str | None, str]]) -> None:
        """Keep the patients of a list out while this object lives; nothing is stored."""
        self._considered |= self._of_list(entries)

    def by_list(self, study: ArchivedStudy) -> bool:
        """Tell whether the PACS's own number is on the list: then nothing is read at all."""
        return BY_LIST in self._sources(self._of_study(study))

    def was_by_record(self, study: ArchivedStudy) -> bool:
        """Tell whether the record kept this patient out before: it may have changed its mind."""
        return BY_RECORD in self._sources(self._of_study(study))

    def of(self, study: ArchivedStudy, recorded: RecordedCase) -> str | None:
        """Return why a recorded patient is kept out, or None; what the record says is kept."""
        keys = self._of_study(study) | self._of_record(recorded)
        ehr_id = self._registration.ehr_id
        sources = self._sources(keys)
        if BY_LIST in sources:
            return OPT_OUT_LIST
        if recorded.withheld is not None:
            self._opt_outs.add(ehr_id, keys, source=BY_RECORD)
            return recorded.withheld
        if BY_RECORD in sources:
            self._opt_outs.remove(ehr_id, keys, source=BY_RECORD)
        return None

    def would_be(self, study: ArchivedStudy, recorded: RecordedCase) -> str | None:
        """Return why a recorded patient would be kept out, or None; nothing is stored."""
        if BY_LIST in self._sources(self._of_study(study) | self._of_record(recorded)):
            return OPT_OUT_LIST
        return recorded.withheld

    def n_cases_in_library(self) -> int:
        """Return how many cases in the library are of patients who are kept out now."""
        return self._opt_outs.n_cases_in_library(self._registration.ehr_id)

    def _sources(self, keys: set[str]) -> frozenset[str]:
        if keys & self._considered:
            return frozenset({BY_LIST})
        return self._opt_outs.sources(self._registration.ehr_id, keys) if keys else frozenset()

    def _of_list(self, entries: Iterable[tuple[str | None, str]]) -> set[str]:
        return {
            self._keys.patient_key(namespace, value)
            for system, value in entries
            for namespace in (self._own_namespaces() if system is None else {system})
        }

    def _of_study(self, study: ArchivedStudy) -> set[str]:
        number = study.patient_id_value
        if not number:
            return set()
        namespaces = {*self._own_namespaces(), study.issuer or ""}
        return {self._keys.patient_key(namespace, number) for namespace in namespaces}

    def _of_record(self, recorded: RecordedCase) -> set[str]:
        pairs = {(i.system or "", i.value) for i in recorded.demographics.identifiers}
        pairs.add((recorded.patient_namespace, recorded.patient_value))
        own = own_namespace(self._registration.ehr_id)
        pairs |= {(own, value) for namespace, value in pairs if not namespace}
        return {self._keys.patient_key(*pair) for pair in pairs}

    def _own_namespaces(self) -> set[str]:
        registration = self._registration
        named = {registration.mrn_system or "", registration.pacs_issuer or ""}
        if registration.mrn_system is None:
            named.add(own_namespace(registration.ehr_id))
        return named


def read_opt_out_list(path: Path) -> tuple[tuple[str | None, str], ...]:
    """Read a list of people who are kept out.

    One a line: ``number`` or ``system|number``; empty lines and lines that begin with ``#`` are
    passed over.

    Raises
    ------
    CdsError
        INVALID_REQUEST if the file cannot be read, is larger than any list, or holds no entry: an
        empty list is more likely a mistake than a hospital without objections.

    """
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise CdsError(Reason.INVALID_REQUEST, "The opt-out list is larger than any list.")
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise CdsError(Reason.INVALID_REQUEST, "The opt-out list cannot be read.") from None
    entries = []
    for line in (one.strip() for one in lines):
        if line and not line.startswith("#"):
            system, separator, value = line.rpartition("|")
            entries.append((system.strip() if separator else None, value.strip()))
    if not entries or any(not value for _, value in entries):
        raise CdsError(
            Reason.INVALID_REQUEST,
            "The opt-out list holds no number, or a line without one; leave --opt-out away if "
            "nobody has objected.",
        )
    return tuple(entries)
