"""Everything that is kept at rest, opened from the settings in one place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from cds.adapters.audit_log import SqlAuditTrail
from cds.adapters.backend_keys import SqlBackendKeys
from cds.adapters.blobs import EncryptedBlobStore
from cds.adapters.crypto import FieldCipher, KeyRing, create_key_ring, load_key_ring
from cds.adapters.identity_keys import HmacIdentityKeys
from cds.adapters.registrations import SqlRegistrations
from cds.adapters.result_store import SqlResultStore
from cds.adapters.sql.case_catalogue import SqlCaseCatalogue
from cds.adapters.sql.case_rows import CaseRows
from cds.adapters.sql.data_keys import has_data_keys, open_field_cipher
from cds.adapters.sql.embeddings import SqlEmbeddings
from cds.adapters.sql.engine import is_at_head, open_database, upgrade_to_head
from cds.domain.errors import CdsError, Reason
from cds.ports import Clock


class StorageSettings(Protocol):
    """What of `cds.settings.Settings` says where things are kept."""

    @property
    def state_dir(self) -> Path:
        """Return the state folder."""
        ...

    @property
    def blob_url(self) -> str:
        """Return the fsspec URL of the blobs, or nothing for a folder in the state folder."""
        ...

    @property
    def effective_database_url(self) -> str:
        """Return the SQLAlchemy URL."""
        ...

    @property
    def effective_key_file(self) -> Path:
        """Return the file with the master keys."""
        ...


class SystemClock:
    """The computer's time."""

    def now(self) -> datetime:
        """Return the aware UTC time."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Storage:
    """The database, the blobs and what lies over them, with one cipher and one set of keys."""

    engine: Engine
    cipher: FieldCipher
    keys: HmacIdentityKeys
    blobs: EncryptedBlobStore
    catalogue: SqlCaseCatalogue
    embeddings: SqlEmbeddings
    results: SqlResultStore
    registrations: SqlRegistrations
    backend_keys: SqlBackendKeys
    audit: SqlAuditTrail
    rows: CaseRows

    def check_database(self) -> None:
        """Ask the database something cheap.

        Raises
        ------
        CdsError
            STORAGE_UNAVAILABLE if it does not answer; INVALID_CONFIGURATION if it answers, but not
            as this software's database does.

        """
        try:
            self.embeddings.current_generation()
            self.catalogue.case_by_id("")
        except SQLAlchemyError as error:
            raise CdsError(
                Reason.INVALID_CONFIGURATION,
                f"The database does not answer ({type(error).__name__}).",
            ) from None


def initialise(settings: StorageSettings) -> None:
    """Make the state folder, the key file and the database; what is there already stays.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if the state folder cannot be made, if the database holds encrypted
        data and its key file is missing, or if either cannot be read.

    """
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            "The state folder (PRECEDENT_STATE_DIR) cannot be made: "
            f"{(error.strerror or 'it is refused').lower()}.",
        ) from None
    engine = open_database(settings.effective_database_url)
    try:
        if not settings.effective_key_file.exists() and has_data_keys(engine):
            raise CdsError(
                Reason.INVALID_CONFIGURATION,
                "The database holds encrypted data, but its key file is missing. Restore the key "
                "file (PRECEDENT_KEY_FILE) from its backup; a new key could not read the data.",
            )
        ring = create_key_ring(settings.effective_key_file)
        upgrade_to_head(engine)
        open_field_cipher(engine, ring)
    finally:
        engine.dispose()


def open_storage(settings: StorageSettings, clock: Clock | None = None) -> Storage:
    """Open what `initialise` made.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if there is no key file, it belongs to another database, or the
        database lacks migrations; the sentence says what to run.

    """
    ring = load_key_ring(settings.effective_key_file)
    engine = open_database(settings.effective_database_url)
    try:
        _check_schema(engine)
        return storage_over(settings, engine, ring, clock or SystemClock())
    except CdsError:
        engine.dispose()
        raise


def storage_over(settings: StorageSettings, engine: Engine, ring: KeyRing, clock: Clock) -> Storage:
    """Return the repositories over an open database."""
    cipher = open_field_cipher(engine, ring)
    keys = HmacIdentityKeys(ring.subkey("identity"))
    rows = CaseRows(cipher, ring.subkey("content"))
    return Storage(
        engine=engine,
        cipher=cipher,
        keys=keys,
        blobs=EncryptedBlobStore(_blob_url(settings), cipher, ring.subkey("blob-name")),
        catalogue=SqlCaseCatalogue(engine, rows),
        embeddings=SqlEmbeddings(engine, rows, cipher),
        results=SqlResultStore(engine, cipher, keys),
        registrations=SqlRegistrations(engine, cipher, clock),
        backend_keys=SqlBackendKeys(engine, cipher, clock),
        audit=SqlAuditTrail(engine, clock),
        rows=rows,
    )


def _check_schema(engine: Engine) -> None:
    try:
        is_current = is_at_head(engine)
    except SQLAlchemyError as error:
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            f"The database does not answer ({type(error).__name__}); see `precedent doctor`.",
        ) from None
    if not is_current:
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            "The database is not at this version's schema; run `precedent init`.",
        )


def _blob_url(settings: StorageSettings) -> str:
    return settings.blob_url or f"file://{settings.state_dir.resolve() / 'blobs'}"
