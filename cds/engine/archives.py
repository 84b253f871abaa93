"""Composition of an import from the archives: settings and a registration -> the import."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime

from cds.adapters.archive_ledger import LedgerScope, SqlArchiveLedger
from cds.adapters.archive_requests import ArchiveRequests
from cds.adapters.backend_services import BackendServiceTokens
from cds.adapters.dicom_files import frames_from_file
from cds.adapters.egress import EgressClients
from cds.adapters.exported_records import ExportedRecords
from cds.adapters.fhir_archive import FhirRecordArchive, RecordSource
from cds.adapters.fhir_bulk_export import BulkExport
from cds.adapters.fhir_search_records import SearchedRecords
from cds.adapters.opt_outs import SqlLibrarianActs, SqlOptOuts
from cds.adapters.pacs_archive import DicomwebArchive
from cds.adapters.pacs_gate import PacsGate
from cds.adapters.pacs_turns import turns_folder
from cds.adapters.record_spool import RecordSpool
from cds.adapters.storage import Storage, SystemClock
from cds.domain.completeness import DEFAULT_STABLE_S, CompletenessRule
from cds.domain.errors import CdsError, Reason
from cds.domain.facts import Finding
from cds.domain.identity import own_namespace
from cds.domain.registration import EhrRegistration
from cds.domain.secrecy import SecretText
from cds.domain.time_limit import TimeLimit
from cds.engine.deidentification import shipped_deidentifier
from cds.library.archive_cases import ArchiveScope
from cds.library.archive_import import ArchiveImport
from cds.library.archive_intake import LEASE_S, Archives, Books, ImportPace
from cds.library.archive_kept_out import KeptOut
from cds.library.import_run import LibraryImport
from cds.library.report_findings import Assertion, findings_from_report
from cds.ports import Clock
from cds.settings import Settings

TOKEN_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """What a librarian chose.

    Attributes
    ----------
    collection, licence
        Said of each case; the collection's default is the EHR's name.
    bulk
        Read the records by one bulk export instead of searches.
    group_id
        Of the FHIR Group that is exported; None exports everybody.
    complete_until
        Until when the hospital states that deaths and returns are complete.
    stable_s
        So long the count of a study's instances must have stood still.
    lease_s
        So long a study of an importer that was killed stays reserved.
    retries_given_up
        Whether studies that an earlier run gave up are taken up again.
    writing_reviewed
        A person has declared that the writing on the pictures names nobody.

    """

    collection: str = ""
    licence: str = ""
    bulk: bool = False
    group_id: str | None = None
    complete_until: date | None = None
    stable_s: float = DEFAULT_STABLE_S
    lease_s: float = LEASE_S
    retries_given_up: bool = False
    writing_reviewed: bool = False


@dataclass(frozen=True, slots=True)
class OpenArchives:
    """Everything that an import, or a look at what it would do, needs."""

    archives: Archives
    scope: ArchiveScope
    kept_out: KeptOut
    importer: ArchiveImport
    notes: tuple[str, ...] = ()


def registration_of(
    storage: Storage, *, ehr_id: str | None, fhir_url: str | None, dicomweb_url: str | None
) -> EhrRegistration:
    """Return the registered EHR that is meant; addresses given beside it come first.

    Raises
    ------
    CdsError
        INVALID_REQUEST if no such EHR is registered, or one of the addresses is missing.

    """
    registrations = storage.registrations
    if ehr_id is not None:
        found = registrations.by_id(ehr_id)
    else:
        found = registrations.by_iss(fhir_url) if fhir_url else None
    if found is None and (ehr_id is not None or not (fhir_url and dicomweb_url)):
        raise CdsError(
            Reason.INVALID_REQUEST,
            "No such EHR is registered; name both --dicomweb and --fhir, or register it with "
            "`precedent ehr add`.",
        )
    if found is None:
        fhir, pacs = str(fhir_url), str(dicomweb_url)
        return EhrRegistration(_owner_of(fhir), fhir, fhir, "", default_pacs_url=pacs)
    if fhir_url is not None:
        found = replace(found, fhir_base_url=fhir_url)
    if dicomweb_url is not None:
        found = replace(found, default_pacs_url=dicomweb_url)
    if found.default_pacs_url is None:
        raise CdsError(
            Reason.INVALID_REQUEST, "No PACS is registered for this EHR; name it by --dicomweb."
        )
    return found


@contextmanager
def open_archives(
    settings: Settings,
    storage: Storage,
    registration: EhrRegistration,
    options: ArchiveOptions,
    *,
    tell: Callable[[str], None] | None = None,
) -> Iterator[OpenArchives]:
    """Wire an import; a bulk export is made here, and its copy is gone at the end.

    Raises
    ------
    CdsError
        INVALID_REQUEST if another EHR fills the collection; INVALID_CONFIGURATION, and for a bulk
        export what `BulkExport.into` raises.

    """
    clock = SystemClock()
    clients = EgressClients(development=settings.development, ca_file=settings.ca_file)
    gate = _gate(settings, registration, tell)
    ledger = _ledger(storage, registration, options, clock)
    with ExitStack() as stack:
        source, notes = _records(stack, settings, storage, clients, (registration, options))
        archives = Archives(
            DicomwebArchive(registration, clients(registration), gate, clock=clock),
            FhirRecordArchive(
                source,
                registration,
                clock=clock,
                complete_until=options.complete_until,
                report_reader=findings_of_report,
            ),
            ledger,
        )
        scope = ArchiveScope(options.collection or registration.name, registration, options.licence)
        kept_out = KeptOut(SqlOptOuts(storage.engine, clock), storage.keys, registration)
        importer = ArchiveImport(
            archives,
            _books(storage, kept_out, clock),
            LibraryImport(
                catalogue=storage.catalogue,
                blobs=storage.blobs,
                keys=storage.keys,
                reader=frames_from_file,
                deidentifier=shipped_deidentifier(
                    storage.keys, writing_reviewed=options.writing_reviewed
                ),
            ),
            scope=scope,
            pace=ImportPace(
                clock,
                CompletenessRule(stable_s=options.stable_s),
                options.lease_s,
                retries_given_up=options.retries_given_up,
            ),
        )
        yield OpenArchives(archives, scope, kept_out, importer, notes)


def _records(
    stack: ExitStack,
    settings: Settings,
    storage: Storage,
    clients: EgressClients,
    asked: tuple[EhrRegistration, ArchiveOptions],
) -> tuple[RecordSource, tuple[str, ...]]:
    """Return where records come from, and what an export says of itself."""
    registration, options = asked
    http = clients(registration)
    requests = _requests(storage, clients, registration)
    if not options.bulk:
        return SearchedRecords(requests, registration), ()
    spool = stack.enter_context(RecordSpool(settings.state_dir, storage.cipher, storage.keys))
    report = BulkExport(http, requests, group_id=options.group_id).into(spool)
    return ExportedRecords(spool, report, registration), report.problems


def _gate(
    settings: Settings, registration: EhrRegistration, tell: Callable[[str], None] | None
) -> PacsGate:
    return PacsGate(
        registration.pacs_policy,
        time_zone=registration.time_zone,
        tell=tell,
        folder=turns_folder(settings.state_dir, registration.default_pacs_url),
    )


def _requests(
    storage: Storage, clients: EgressClients, registration: EhrRegistration
) -> ArchiveRequests:
    if registration.backend_client_id is None:
        return ArchiveRequests(clients(registration), _no_token)
    tokens = BackendServiceTokens(clients, storage.backend_keys, SystemClock())
    scope = " ".join(registration.backend_scopes)

    def token() -> SecretText | None:
        return tokens.access_token(registration, scope=scope, deadline=TimeLimit(TOKEN_LIMIT_S))

    def forget() -> None:
        tokens.forget(registration, scope=scope)

    return ArchiveRequests(clients(registration), token, on_refused=forget)


def _ledger(
    storage: Storage, registration: EhrRegistration, options: ArchiveOptions, clock: Clock
) -> SqlArchiveLedger:
    scope = LedgerScope(
        options.collection or registration.name,
        registration.ehr_id,
        registration.mrn_system or registration.pacs_issuer or own_namespace(registration.ehr_id),
    )
    ledger = SqlArchiveLedger(storage.engine, storage.cipher, storage.keys, clock, scope)
    ledger.check_owner()
    return ledger


def _books(storage: Storage, kept_out: KeptOut, clock: Clock) -> Books:
    return Books(
        catalogue=storage.catalogue,
        keys=storage.keys,
        acts=SqlLibrarianActs(storage.engine, storage.cipher, clock),
        audit=storage.audit,
        kept_out=kept_out,
    )


def findings_of_report(text: str, known_at: datetime | None) -> tuple[Finding, ...]:
    """Return the findings that a report states as present; what it doubts or denies is none."""
    return tuple(
        replace(named.finding, known_at=known_at)
        for named in findings_from_report(text)
        if named.assertion is Assertion.PRESENT
    )


def _no_token() -> None:
    return None


def _owner_of(fhir_url: str) -> str:
    """Return the EHR id of a server that is not registered: the same for the same address."""
    return f"archive-{hashlib.sha256(fhir_url.encode()).hexdigest()[:12]}"
