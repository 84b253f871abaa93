"""A bulk export on its way into the library: encrypted, found by patient, gone afterwards."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from cds.fhir.course import is_icu_location, says
from cds.fhir.imaging_study import study_instance_uid
from cds.fhir.patient_record import PARTS, PatientRecord
from cds.fhir.shapes import Resource, accession_numbers, items, mapping, subject_id, text

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from cds.adapters.crypto import FieldCipher
    from cds.ports import IdentityKeys

_PLACE = "record_spool.resource"
_PREFIX = "export-"
_LOCK_FILE = ".exports.lock"
_TABLES = """
CREATE TABLE resource (patient TEXT NOT NULL, sealed BLOB NOT NULL);
CREATE TABLE pointer (name TEXT NOT NULL, patient TEXT NOT NULL, PRIMARY KEY (name, patient))
    WITHOUT ROWID;
"""
_KEPT_BY_PROCEDURE = ("ventilation", "niv", "drained")


class RecordSpool:
    """Whole resources by patient; a context that removes its folder at the end.

    The folder is locked while its process lives: what a killed import left is known by its missing
    lock, and goes when the next one begins or a patient is erased.

    Parameters
    ----------
    parent
        Folder in which an owner-only folder is made; on the same volume as the database.
    cipher, keys
        Resources are encrypted, ids and numbers are keyed hashes.

    """

    def __init__(self, parent: Path, cipher: FieldCipher, keys: IdentityKeys) -> None:
        self._cipher = cipher
        self._keys = keys
        with _alone(parent):
            _remove_abandoned(parent)
            self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # mode 0700
            self._lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._database = sqlite3.connect(self._folder / "spool.db", check_same_thread=False)
        self._database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        self._database.executescript(_TABLES)
        self._icu: set[str] = set()
        self.kept: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    @property
    def icu_location_ids(self) -> frozenset[str]:
        """Return the Locations that are intensive care units."""
        return frozenset(self._icu)

    def add(self, resources: Iterable[Resource]) -> int:
        """Keep resources; of Locations only which are intensive care units. Returns how many."""
        n = 0
        with self._database:
            for resource in resources:
                n += 1
                self._add(resource)
        return n

    def index(self) -> None:
        """Make resources findable by patient; called once everything is in."""
        with self._database:
            self._database.execute("CREATE INDEX resource_patient ON resource (patient)")

    def patients(self, kind: str, value: str) -> tuple[str, ...]:
        """Return the keys of the patients that a study UID, accession or record number names."""
        query = "SELECT patient FROM pointer WHERE name = ?"
        with closing(self._database.execute(query, (self._name(kind, value),))) as rows:
            return tuple(str(patient) for (patient,) in rows)

    def record(self, patient: str) -> PatientRecord | None:
        """Return the record behind a patient key, None if the export lacks the Patient itself."""
        resources = list(self._resources(patient))
        own = [r for r in resources if r.get("resourceType") == "Patient"]
        return PatientRecord.of(own[0], resources) if len(own) == 1 else None

    def _resources(self, patient: str) -> Iterator[Resource]:
        query = "SELECT sealed FROM resource WHERE patient = ?"
        with closing(self._database.execute(query, (patient,))) as rows:
            for (sealed,) in rows:
                yield mapping(orjson.loads(self._cipher.decrypt(sealed, _PLACE)))

    def _add(self, resource: Resource) -> None:
        kind = text(resource.get("resourceType"))
        if kind == "Location":
            location_id = text(resource.get("id"))
            if location_id and is_icu_location(resource):
                self._icu.add(location_id)
                self.kept.add("icu")
            return
        patient_id = text(resource.get("id")) if kind == "Patient" else subject_id(resource)
        if patient_id is None or (kind != "Patient" and kind not in PARTS):
            return
        self._note_kept(kind, resource)
        patient = self._name("patient", patient_id)
        sealed = self._cipher.encrypt(orjson.dumps(resource), _PLACE)
        self._database.execute("INSERT INTO resource VALUES (?, ?)", (patient, sealed))
        for name in self._pointers(kind, resource):
            self._database.execute("INSERT OR IGNORE INTO pointer VALUES (?, ?)", (name, patient))

    def _note_kept(self, kind: str | None, resource: Resource) -> None:
        if kind == "Procedure":
            code = resource.get("code")
            self.kept.update(event for event in _KEPT_BY_PROCEDURE if says(event, code))
        elif kind == "Encounter" and any(says("icu", t) for t in items(resource.get("type"))):
            self.kept.add("icu")

    def _pointers(self, kind: str | None, resource: Resource) -> Iterator[str]:
        if kind == "ImagingStudy":
            uid = study_instance_uid(resource)
            if uid is not None:
                yield self._name("study", uid)
            else:
                for number in accession_numbers(resource):
                    yield self._name("accession", number)
        elif kind == "Patient":
            for identifier in items(resource.get("identifier")):
                value = text(identifier.get("value"))
                if value:
                    yield self._name("number", value)
                    yield self._name("number", f"{text(identifier.get('system')) or ''}|{value}")

    def _name(self, kind: str, value: str) -> str:
        return self._keys.patient_key(f"record-spool:{kind}", value)


def remove_abandoned_exports(parent: Path) -> int:
    """Remove what killed imports left of their exports; returns how many those were."""
    with _alone(parent):
        return _remove_abandoned(parent)


def _remove_abandoned(parent: Path) -> int:
    n_removed = 0
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            descriptor = os.open(
                folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            )
        except OSError:  # gone meanwhile, or no folder of ours
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            n_removed += 1
        except BlockingIOError:  # its import is at work
            pass
        finally:
            os.close(descriptor)
    return n_removed


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """Keep others from looking for abandoned folders while one is made and not yet locked."""
    descriptor = os.open(parent / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
