"""FHIR Bulk Data export: kick-off, polling, files, and the server told that we are done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin

import orjson

from cds.adapters.archive_requests import ArchiveRequests, check_status
from cds.adapters.egress_policy import origin_of
from cds.adapters.ndjson_lines import NdjsonLines
from cds.domain.errors import CdsError, Reason
from cds.domain.time_limit import TimeLimit
from cds.fhir.dates import moment
from cds.fhir.patient_record import PARTS
from cds.fhir.shapes import Resource, items, mapping, text

if TYPE_CHECKING:
    import requests

    from cds.adapters.egress import EgressClient
    from cds.adapters.record_spool import RecordSpool

NDJSON = "application/fhir+ndjson"
TYPES = ("Patient", *PARTS, "Location")
# What is printed of a server's words: members of these two value sets (FHIR R4), nothing else.
SEVERITIES = frozenset({"fatal", "error", "warning", "information"})
ISSUE_CODES = frozenset(
    {
        *("invalid", "structure", "required", "value", "invariant", "security", "login", "unknown"),
        *("expired", "forbidden", "suppressed", "processing", "not-supported", "duplicate"),
        *("multiple-matches", "not-found", "deleted", "too-long", "code-invalid", "extension"),
        *("too-costly", "business-rule", "conflict", "transient", "lock-error", "no-store"),
        *("exception", "timeout", "incomplete", "throttled", "informational"),
    }
)
_FHIR_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.")


@dataclass(frozen=True, slots=True)
class BulkLimits:
    """What one export may cost.

    Attributes
    ----------
    ready_within_s
        How long the server may prepare the files.
    poll_s, max_poll_s
        Between two questions where the server names no time; and at most.
    file_s, max_file_bytes
        Of one file.
    max_files
        Of one export.

    """

    ready_within_s: float = 6 * 3600
    poll_s: float = 10.0
    max_poll_s: float = 300.0
    file_s: float = 3600.0
    max_file_bytes: int = 8 * 1024**3
    max_files: int = 10_000


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export gave.

    Attributes
    ----------
    taken_at
        The server's transaction time: nothing later is in the files.
    n_resources
        By type.
    problems
        Sentences free of PHI: what the server's error files and lines say.
    is_whole
        False if the server reports an error or a line could not be read: then no absence is
        believed.

    """

    taken_at: datetime
    n_resources: dict[str, int]
    problems: tuple[str, ...] = ()
    is_whole: bool = True


class BulkExport:
    """One export of a group's, or of everybody's, records.

    Parameters
    ----------
    http, requests
        To the EHR; the second with our token and its patience with a busy server.
    group_id
        Logical id of a Group; None exports the whole system.
    limits
        What it may cost.
    sleep, clock
        Wait, and monotonic seconds; others in tests.

    References
    ----------
    HL7 FHIR Bulk Data Access 2.0.0, "Bulk Data Export Operation Request Flow".

    """

    def __init__(
        self,
        http: EgressClient,
        requests: ArchiveRequests,
        *,
        group_id: str | None = None,
        limits: BulkLimits | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if group_id is not None and not (group_id and set(group_id) <= _FHIR_ID_CHARACTERS):
            raise CdsError(Reason.INVALID_REQUEST, "The group's id is not a FHIR id.")
        self._http = http
        self._requests = requests
        self._scope = f"/Group/{group_id}" if group_id else ""
        self._limits = limits or BulkLimits()
        self._sleep = sleep
        self._clock = clock

    def into(self, spool: RecordSpool) -> ExportReport:
        """Export into a spool; the server's copy is deleted at the end, also after a failure.

        Raises
        ------
        CdsError
            UPSTREAM_REFUSED, UPSTREAM_FAILED (also for a file that is not whole), DEADLINE or
            EGRESS_REFUSED.

        """
        status_url = self._kick_off()
        try:
            manifest = self._manifest(status_url)
            report = self._download(manifest, spool)
        finally:
            with suppress(CdsError):  # it deletes its files some day by itself
                self._requests.exchange("DELETE", status_url)
        spool.index()
        return report

    def _kick_off(self) -> str:
        query = urlencode({"_type": ",".join(TYPES), "_outputFormat": NDJSON}, safe="/:,+")
        url = f"{self._requests.base_url}{self._scope}/$export?{query}"
        response = self._requests.exchange("GET", url, headers={"Prefer": "respond-async"})
        check_status(response.status_code)
        location = response.headers.get("Content-Location")
        if response.status_code != 202 or not location:
            raise CdsError(Reason.UPSTREAM_FAILED, "The EHR did not start an export.")
        status_url = urljoin(url, location)
        if origin_of(status_url) != origin_of(self._requests.base_url):
            raise CdsError(Reason.EGRESS_REFUSED, "The export's status lies at another origin.")
        return status_url

    def _manifest(self, status_url: str) -> Resource:
        until = self._clock() + self._limits.ready_within_s
        while True:
            response = self._requests.exchange("GET", status_url)
            if response.status_code == 200:
                return _json(response)
            check_status(response.status_code)
            wait_s = min(
                self._limits.max_poll_s,
                self._requests.wait_s(response, default_s=self._limits.poll_s),
            )
            if self._clock() + wait_s > until:
                raise CdsError(Reason.DEADLINE, "The EHR did not finish its export in time.")
            self._sleep(max(wait_s, 0.01))

    def _download(self, manifest: Resource, spool: RecordSpool) -> ExportReport:
        taken_at = moment(manifest.get("transactionTime"))
        if taken_at is None:
            raise CdsError(Reason.UPSTREAM_FAILED, "The export does not say when it was taken.")
        with_token = manifest.get("requiresAccessToken") is not False
        files = items(manifest.get("output"))
        if len(files) > self._limits.max_files:
            raise CdsError(Reason.UPSTREAM_FAILED, "The export has more files than were allowed.")
        n_resources: Counter[str] = Counter()
        problems: list[str] = []
        for file in files:
            kind = text(file.get("type")) or ""
            if kind not in TYPES:
                continue
            lines = NdjsonLines(kind, spool.add)
            self._file(file, lines, with_token=with_token)
            n_resources[kind] += lines.n_lines - lines.n_unusable
            if lines.n_unusable:
                problems.append(f"{kind}: {lines.n_unusable} lines could not be understood.")
        issues = self._errors(manifest, with_token=with_token)
        is_whole = not problems and not {"error", "fatal"} & {severity for severity, _ in issues}
        problems += [
            f"The export reports {n} issues of severity {severity}, code {code}."
            for (severity, code), n in sorted(issues.items())
        ]
        return ExportReport(taken_at, dict(n_resources), tuple(problems), is_whole)

    def _file(self, file: Resource, lines: NdjsonLines, *, with_token: bool) -> None:
        url = text(file.get("url")) or ""
        credential = self._requests.credential() if with_token else None
        if credential is not None and origin_of(url) != credential.origin:
            raise CdsError(
                Reason.EGRESS_REFUSED,
                "The export's files lie at another origin and want the EHR's token; a token "
                "leaves for its own origin only.",
            )
        self._http.download(
            url,
            lines,
            deadline=TimeLimit(self._limits.file_s),
            credential=credential,
            max_bytes=self._limits.max_file_bytes,
            accept=NDJSON,
        )
        lines.finish()
        stated = file.get("count")
        if isinstance(stated, int) and stated != lines.n_lines:
            raise CdsError(
                Reason.UPSTREAM_FAILED,
                f"A file of the export holds {lines.n_lines} resources instead of {stated}.",
            )

    def _errors(self, manifest: Resource, *, with_token: bool) -> Counter[tuple[str, str]]:
        """Count the error files' issues by severity and code: their texts may name people."""
        counts: Counter[tuple[str, str]] = Counter()

        def keep(outcomes: list[Resource]) -> None:
            for outcome in outcomes:
                for issue in items(outcome.get("issue")):
                    severity, code = text(issue.get("severity")), text(issue.get("code"))
                    counts[
                        severity if severity in SEVERITIES else "error",
                        code if code in ISSUE_CODES else "unknown",
                    ] += 1

        for file in items(manifest.get("error")):
            self._file(file, NdjsonLines("OperationOutcome", keep), with_token=with_token)
        return counts


def _json(response: requests.Response) -> Resource:
    try:
        found: Any = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        raise CdsError(
            Reason.UPSTREAM_FAILED, "The EHR answered with something that is not JSON."
        ) from None
    return mapping(found)
