"""The sandbox's FHIR R4 resources, in memory, loaded from a folder of JSON files."""

from __future__ import annotations

import json
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox.web.matching import BadSearchError, matches
from sandbox.web.search_parameters import INCLUDES, PARAMETERS, parameter_for, values_at

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Resource = dict[str, Any]

DICOMWEB_PLACEHOLDER = "{{DICOMWEB}}"  # what the generator writes in place of Endpoint.address


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One type-level search: criteria as they stood in the query, and how to order the answer."""

    resource_type: str
    criteria: tuple[tuple[str, str], ...] = ()
    sort: str = ""
    includes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """All matches in order, and what they include."""

    matched: tuple[Resource, ...]
    included: tuple[Resource, ...]


class FhirStore:
    """Holds resources by type and id; reads never see a half-written resource."""

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self._lock = threading.Lock()
        self._resources: dict[str, dict[str, Resource]] = {}
        for resource in resources:
            self.put(resource)

    def put(self, resource: Resource) -> None:
        """Store a resource under its own id, with a version and a time if it has none."""
        meta = {"versionId": "1", "lastUpdated": _now_text(), **resource.get("meta", {})}
        with self._lock:
            by_id = self._resources.setdefault(resource["resourceType"], {})
            by_id[resource["id"]] = {**resource, "meta": meta}

    def create(self, resource: Resource) -> Resource:
        """Store a new resource under an id of the store's choice, and return it."""
        kept = {**resource, "id": str(uuid.uuid4()), "meta": {"lastUpdated": _now_text()}}
        self.put(kept)
        return self._resources[kept["resourceType"]][kept["id"]]

    def read(self, resource_type: str, resource_id: str) -> Resource | None:
        """Return one resource, or None."""
        return self._resources.get(resource_type, {}).get(resource_id)

    def resolve(self, reference: str) -> Resource | None:
        """Return what a relative reference such as ``Patient/p4`` points at, or None."""
        resource_type, _, resource_id = reference.partition("/")
        return self.read(resource_type, resource_id)

    def all_of(self, resource_type: str) -> tuple[Resource, ...]:
        """Return every resource of a type, ordered by id."""
        with self._lock:
            by_id = dict(self._resources.get(resource_type, {}))
        return tuple(by_id[key] for key in sorted(by_id))

    def of_patient(self, resource_type: str, patient_id: str) -> tuple[Resource, ...]:
        """Return a patient's resources of a type, ordered by id."""
        wanted = f"Patient/{patient_id}"
        return tuple(r for r in self.all_of(resource_type) if patient_ref_of(r) == wanted)

    def search(self, request: SearchRequest) -> SearchAnswer:
        """Return what satisfies all criteria.

        Raises
        ------
        BadSearchError
            If a parameter, a sort key or an include is not known for the type.

        """
        found = [
            resource
            for resource in self.all_of(request.resource_type)
            if all(_satisfies(resource, name, text) for name, text in request.criteria)
        ]
        for key in reversed([part for part in request.sort.split(",") if part]):
            _order(found, request.resource_type, key)
        return SearchAnswer(tuple(found), self._included(found, request.includes))

    def _included(self, found: list[Resource], includes: tuple[str, ...]) -> tuple[Resource, ...]:
        gathered: dict[str, Resource] = {}
        for include in includes:
            if include not in INCLUDES:
                raise BadSearchError(f"The include {include} is not supported.")
            for resource in found:
                for path in INCLUDES[include]:
                    for value in values_at(resource, f"{path}.reference"):
                        target = self.resolve(value)
                        if target is not None:
                            gathered[value] = target
        return tuple(gathered.values())


def patient_ref_of(resource: Resource) -> str | None:
    """Return the reference of the patient whose compartment a resource is in, or None."""
    if resource["resourceType"] == "Patient":
        return f"Patient/{resource['id']}"
    for element in ("subject", "patient"):
        value = resource.get(element)
        if isinstance(value, dict) and str(value.get("reference", "")).startswith("Patient/"):
            return str(value["reference"])
    return None


def load_folder(folder: Path, *, dicomweb_url: str) -> list[Resource]:
    """Read every ``*.json`` of a folder; the placeholder of Endpoint.address is filled in."""
    texts = (path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.json")))
    return [json.loads(text.replace(DICOMWEB_PLACEHOLDER, dicomweb_url)) for text in texts]


def _satisfies(resource: Resource, name: str, text: str) -> bool:
    parameter = parameter_for(resource["resourceType"], name)
    if parameter is None:
        known = ", ".join(sorted(PARAMETERS[resource["resourceType"]]))
        raise BadSearchError(f"The search parameter {name} is not known here; known: {known}.")
    return matches(resource, parameter, text)


def _order(found: list[Resource], resource_type: str, key: str) -> None:
    parameter = parameter_for(resource_type, key.lstrip("-"))
    if parameter is None:
        raise BadSearchError(f"The answer cannot be sorted by {key.lstrip('-')}.")

    def text_of(resource: Resource) -> str:
        values = [v for path in parameter.paths for v in values_at(resource, path)]
        first = values[0] if values else ""
        return str(first.get("start", "") if isinstance(first, dict) else first)

    found.sort(key=text_of, reverse=key.startswith("-"))


def _now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
