"""A FHIR R4 server over resources in memory that an import reads: search, paging, bulk export."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tests.builders.fhir import Resource, a_bundle, an_operation_outcome
from tests.fakes.http_server import Asked, Reply

TOKEN = "our-own-token"
TAKEN_AT = "2026-01-06T04:00:00Z"
_PATH = re.compile(r"/fhir/(\w+)(?:/([\w.-]+))?")


class RecordServer:
    """Answers from its resources; a test may put an answer for a type in `instead`.

    Attributes
    ----------
    token
        The bearer token that is wanted; None lets everyone in.
    ignores_filters
        As weak servers do: every resource of the type, whatever was asked.
    busy
        Path prefix -> how often it is answered 429 before it is answered.
    export_errors
        OperationOutcomes of the export's error file.
    n_polls
        How often an export is not ready yet.

    """

    def __init__(self, *resources: Resource, page_size: int = 100) -> None:
        self.resources = list(resources)
        self.page_size = page_size
        self.instead: dict[str, Callable[[Asked], Reply]] = {}
        self.token: str | None = TOKEN
        self.ignores_filters = False
        self.base_url = ""
        self.busy: dict[str, int] = defaultdict(int)
        self.export_errors: list[Resource] = []
        self.n_polls = 2
        self.cuts_files = False
        self.wants_token_for_files: Any = True
        self.deleted: list[str] = []

    def __call__(self, asked: Asked) -> Reply:
        return self._refusal(asked) or self._answer(asked)

    def _refusal(self, asked: Asked) -> Reply | None:
        is_file = asked.path.startswith("/files/")
        wants_token = self.token is not None and (not is_file or self.wants_token_for_files)
        if wants_token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return Reply(401)
        for prefix, n_left in self.busy.items():
            if n_left and asked.path.startswith(prefix):
                self.busy[prefix] -= 1
                return Reply(429, headers={"Retry-After": "7"})
        return None

    def _answer(self, asked: Asked) -> Reply:
        if asked.path.endswith("/$export"):
            return self._kick_off(asked)
        if asked.path == "/status/1":
            return self._status(asked)
        if asked.path.startswith("/files/"):
            return self._file(asked.path.removeprefix("/files/"))
        match = _PATH.fullmatch(asked.path)
        if match is None:
            return Reply(404)
        kind, resource_id = match.groups()
        if kind in self.instead:
            return self.instead[kind](asked)
        return self._read(kind, resource_id) if resource_id else self._search(kind, asked)

    def _read(self, kind: str, resource_id: str) -> Reply:
        for resource in self.resources:
            if (resource["resourceType"], resource.get("id")) == (kind, resource_id):
                return Reply.json(resource)
        return Reply(404)

    def _search(self, kind: str, asked: Asked) -> Reply:
        found = [r for r in self.resources if r["resourceType"] == kind]
        if not self.ignores_filters:
            found = [r for r in found if _matches(r, asked.query)]
        offset = int(asked.query.get("page", ["0"])[0])
        end = offset + self.page_size
        next_url = None
        if end < len(found):
            kept = {k: v[0] for k, v in asked.query.items() if k != "page"}
            query = "&".join(f"{k}={quote(v, safe='')}" for k, v in kept.items())
            next_url = f"{self.base_url}/{kind}?{query}&page={end}"
        return Reply.json(a_bundle(*found[offset:end], next_url=next_url))

    def _kick_off(self, asked: Asked) -> Reply:
        if asked.headers.get("prefer") != "respond-async":
            return Reply(400)
        origin = self.base_url.removesuffix("/fhir")
        return Reply(202, headers={"Content-Location": f"{origin}/status/1"})

    def _status(self, asked: Asked) -> Reply:
        if asked.method == "DELETE":
            self.deleted.append(asked.path)
            return Reply(202)
        if self.n_polls:
            self.n_polls -= 1
            return Reply(202, headers={"Retry-After": "3", "X-Progress": "half"})
        origin = self.base_url.removesuffix("/fhir")
        kinds = sorted({r["resourceType"] for r in self.resources})
        manifest: Resource = {
            "transactionTime": TAKEN_AT,
            "requiresAccessToken": self.wants_token_for_files,
            "output": [
                {
                    "type": kind,
                    "url": f"{origin}/files/{kind}",
                    "count": sum(r["resourceType"] == kind for r in self.resources),
                }
                for kind in kinds
            ],
            "error": [],
        }
        if self.export_errors:
            manifest["error"] = [{"type": "OperationOutcome", "url": f"{origin}/files/errors"}]
        return Reply.json(manifest)

    def _file(self, kind: str) -> Reply:
        found = [r for r in self.resources if r["resourceType"] == kind]
        lines = self.export_errors if kind == "errors" else found
        if self.cuts_files:
            lines = lines[:-1]
        body = "\n".join(json.dumps(line) for line in lines).encode()
        return Reply(200, body, {"Content-Type": "application/fhir+ndjson"})


def _matches(resource: Resource, query: dict[str, list[str]]) -> bool:
    patient = query.get("patient", [None])[0]
    subject = (resource.get("subject") or resource.get("patient") or {}).get("reference")
    if patient is not None and subject != patient:  # as Medplum does: a bare id finds nothing
        return False
    identifier = query.get("identifier", [None])[0]
    if identifier is not None and not _has_identifier(resource, identifier):
        return False
    for name in ("code", "type"):
        wanted = query.get(name, [None])[0]
        if wanted is not None and not _has_code(resource.get(name), wanted.split(",")):
            return False
    at = resource.get("effectiveDateTime")
    for bound in query.get("date", ()):
        if at is not None and bound[:2] == "ge" and at[:10] < bound[2:]:
            return False
        if at is not None and bound[:2] == "le" and at[:10] > bound[2:]:
            return False
    return True


def _has_identifier(resource: Resource, wanted: str) -> bool:
    system, separator, value = wanted.rpartition("|")
    return any(
        i.get("value") == value and (not separator or i.get("system") == system)
        for i in resource.get("identifier", ())
    )


def _has_code(concept: Any, wanted: list[str]) -> bool:
    concepts = concept if isinstance(concept, list) else [concept or {}]
    codes = {c.get("code") for one in concepts for c in one.get("coding", ())}
    return any(w.rpartition("|")[2] in codes for w in wanted)


def an_issue(severity: str, code: str) -> Resource:
    outcome = an_operation_outcome()
    outcome["issue"] = [{"severity": severity, "code": code, "diagnostics": "Mr Seeded Surname"}]
    return outcome
