"""What a test does at a FHIR server from outside: load, write, search as any client would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

FHIR_JSON = "application/fhir+json"
LIMIT_S = 60


@dataclass(frozen=True)
class FhirClient:
    """A FHIR server by its base address; `token` goes along with every request."""

    base_url: str
    token: str | None = None

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """Send one request below the base, whatever comes back."""
        sent = {"Accept": FHIR_JSON, "Content-Type": FHIR_JSON, **headers}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        url = f"{self.base_url}/{path}" if path else self.base_url
        return requests.request(method, url, json=body, headers=sent, timeout=LIMIT_S)

    def load(self, bundle: Mapping[str, Any]) -> dict[str, str]:
        """Load a transaction; returns its fullUrls with the references that they became."""
        answer = self.ask("POST", "", bundle)
        assert answer.ok, answer.text[:2000]
        entries = answer.json()["entry"]
        places = [entry["response"]["location"].split("/_history")[0] for entry in entries]
        references = ["/".join(place.split("/")[-2:]) for place in places]
        return dict(zip((e["fullUrl"] for e in bundle["entry"]), references, strict=True))

    def put(self, resource: Mapping[str, Any]) -> None:
        """Create or replace a resource under its own id."""
        answer = self.ask("PUT", f"{resource['resourceType']}/{resource['id']}", resource)
        assert answer.ok, answer.text[:2000]

    def put_all(self, resources: Sequence[Mapping[str, Any]]) -> None:
        """Create or replace resources under their own ids, in one transaction."""
        entries = [
            {
                "fullUrl": f"{self.base_url}/{resource['resourceType']}/{resource['id']}",
                "resource": resource,
                "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"},
            }
            for resource in resources
        ]
        self.load({"resourceType": "Bundle", "type": "transaction", "entry": entries})

    def create(self, resource: Mapping[str, Any]) -> str:
        """Create a resource; returns the reference that the server gave it."""
        answer = self.ask("POST", str(resource["resourceType"]), resource)
        assert answer.status_code == 201, answer.text[:2000]
        return f"{resource['resourceType']}/{answer.json()['id']}"

    def search(self, path: str, **headers: str) -> dict[str, Any]:
        """Return the Bundle of a search."""
        answer = self.ask("GET", path, **headers)
        assert answer.status_code == 200, answer.text[:2000]
        bundle: dict[str, Any] = answer.json()
        return bundle
