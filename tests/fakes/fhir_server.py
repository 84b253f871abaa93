"""A small FHIR R4 server: searches by patient, pages, includes Endpoints, wants its token."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.builders.fhir import Resource, a_bundle
from tests.fakes.http_server import Asked, Reply

TOKEN = "token-of-the-launch"


class FhirServer:
    """Answers from its resources; a test may put an answer for a type in `instead`."""

    def __init__(self, *resources: Resource, page_size: int = 100) -> None:
        self.resources = list(resources)
        self.page_size = page_size
        self.instead: dict[str, Callable[[Asked], Reply]] = {}
        self.base_url = ""

    def __call__(self, asked: Asked) -> Reply:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply(401)
        match = re.fullmatch(r"/fhir/(\w+)(?:/([\w.-]+))?", asked.path)
        if match is None:
            return Reply(404)
        resource_type, resource_id = match.groups()
        if resource_type in self.instead:
            return self.instead[resource_type](asked)
        if resource_id is not None:
            return self._read(resource_type, resource_id)
        return self._search(resource_type, asked)

    def _read(self, resource_type: str, resource_id: str) -> Reply:
        for resource in self.resources:
            if (resource["resourceType"], resource.get("id")) == (resource_type, resource_id):
                return Reply.json(resource)
        return Reply(404)

    def _search(self, resource_type: str, asked: Asked) -> Reply:
        # As Medplum does: a bare id finds nothing.
        patient = asked.query.get("patient", [""])[0]
        found = [
            r
            for r in self.resources
            if r["resourceType"] == resource_type and r["subject"]["reference"] == patient
        ]
        offset = int(asked.query.get("page", ["0"])[0])
        page = found[offset : offset + self.page_size]
        next_url = None
        if offset + self.page_size < len(found):
            end = offset + self.page_size
            next_url = f"{self.base_url}/{resource_type}?patient={patient}&page={end}"
        included: list[Any] = []
        if "_include" in asked.query:
            included = [r for r in self.resources if r["resourceType"] == "Endpoint"]
        return Reply.json(a_bundle(*page, *included, next_url=next_url))
