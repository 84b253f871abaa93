"""Calls the registered CDS service when a chart is opened, as CDS Hooks 2.0.1 says."""

from __future__ import annotations

import re
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import requests
from joserfc import jwt

from sandbox.web.accounts import Account
from sandbox.web.fhir_api import searched
from sandbox.web.matching import BadSearchError
from sandbox.web.search_parameters import PARAMETERS

if TYPE_CHECKING:
    from sandbox.web.hospital import Hospital

HOOK = "patient-view"
CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 5.0
JWT_LIFETIME_S = 300
TOKEN_LIFETIME_S = 60
DISCOVERY_LIFETIME_S = 60.0
_TOKEN = re.compile(r"\{\{\s*([A-Za-z.]+)\s*\}\}")
# CDS Hooks 2.0 spells scopes as SMART v1 does.
_HOOK_SCOPE = " ".join(
    f"patient/{name}.read"
    for name in PARAMETERS
    if name not in {"Consent", "MedicationRequest", "Procedure", "AllergyIntolerance"}
)


@dataclass(frozen=True, slots=True)
class ViewedChart:
    """What the person has opened: the hook's context."""

    account: Account
    patient_id: str
    encounter_id: str | None

    def context(self) -> dict[str, str]:
        """Return the hook's context on the wire."""
        context = {"userId": self.account.fhir_user, "patientId": self.patient_id}
        return context | ({"encounterId": self.encounter_id} if self.encounter_id else {})


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """What came back: cards of one service, or why there are none."""

    cards: tuple[dict[str, Any], ...] = ()
    failure: str | None = None
    elapsed_ms: int = 0


class CdsClient:
    """Asks every patient-view service that the product's discovery names."""

    def __init__(self, hospital: Hospital) -> None:
        self._hospital = hospital
        self._session = requests.Session()
        self._session.trust_env = False
        self._services: list[dict[str, Any]] = []
        self._discovered_at = float("-inf")

    def chart_opened(self, chart: ViewedChart) -> HookAnswer:
        """Fire `patient-view` and return the cards; never raises, the chart works without."""
        started = time.monotonic()
        cards: list[dict[str, Any]] = []
        try:
            for cds_service in self._discover():
                if cds_service.get("hook") == HOOK:
                    cards.extend(self._call(cds_service, chart))
        except requests.Timeout:
            return HookAnswer(failure="Decision support did not answer in time.")
        except (requests.RequestException, ValueError):
            return HookAnswer(failure="Decision support cannot be reached.")
        except _RefusedError as error:
            return HookAnswer(failure=f"Decision support refused the call ({error.status}).")
        elapsed_ms = round((time.monotonic() - started) * 1000)
        return HookAnswer(tuple(cards), elapsed_ms=elapsed_ms)

    def _discover(self) -> list[dict[str, Any]]:
        if time.monotonic() > self._discovered_at + DISCOVERY_LIFETIME_S:
            url = self._hospital.places.cds_services_url
            document = self._send("GET", url, None)
            self._services = [one for one in document.get("services", []) if isinstance(one, dict)]
            self._discovered_at = time.monotonic()
        return self._services

    def _call(self, cds_service: dict[str, Any], chart: ViewedChart) -> list[dict[str, Any]]:
        url = f"{self._hospital.places.cds_services_url}/{cds_service['id']}"
        token = self._hospital.grants.issue_own(
            chart.account,
            client_id=self._hospital.secrets.client_id,
            scope=_HOOK_SCOPE,
            patient_id=chart.patient_id,
            lifetime_s=TOKEN_LIFETIME_S,
        )
        body = {
            "hook": HOOK,
            "hookInstance": str(uuid.uuid4()),
            "fhirServer": self._hospital.places.fhir_base_url,
            "fhirAuthorization": {
                "access_token": token.access_token,
                "token_type": "Bearer",
                "expires_in": TOKEN_LIFETIME_S,
                "scope": _HOOK_SCOPE,
                "subject": self._hospital.secrets.client_id,
                "patient": chart.patient_id,
            },
            "context": chart.context(),
            "prefetch": self._prefetch(cds_service.get("prefetch", {}), chart),
        }
        try:
            answer = self._send("POST", url, body)
        finally:
            token.is_killed = True
        return [card for card in answer.get("cards", []) if isinstance(card, dict)]

    def _send(self, method: str, url: str, body: dict[str, Any] | None) -> dict[str, Any]:
        response = self._session.request(
            method,
            url,
            json=body,
            headers={"Authorization": f"Bearer {self._signed_claim(url)}"},
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            allow_redirects=False,
        )
        if response.status_code != requests.codes.ok:
            raise _RefusedError(response.status_code)
        document = response.json()
        if not isinstance(document, dict):
            raise ValueError("The answer is not a JSON object.")  # noqa: TRY004  # a bad value from the wire
        return document

    def _signed_claim(self, audience: str) -> str:
        key = self._hospital.keys.hook_key
        places = self._hospital.places
        header = {"alg": "ES384", "typ": "JWT", "kid": key.kid, "jku": places.hook_jwks_url}
        now = int(time.time())
        claims = {
            "iss": places.hook_issuer,
            "aud": audience,
            "iat": now,
            "exp": now + JWT_LIFETIME_S,
            "jti": secrets.token_hex(32),
        }
        return jwt.encode(header, claims, key, ["ES384"])

    def _prefetch(self, templates: dict[str, str], chart: ViewedChart) -> dict[str, Any]:
        """Return what the service asked for, as far as this EHR supports the query."""
        if self._hospital.fhir_switch.state != "up":
            return {}
        values = {f"context.{name}": text for name, text in chart.context().items()}
        values["userPractitionerId"] = chart.account.fhir_user.partition("/")[2]
        filled: dict[str, Any] = {}
        for key, template in templates.items():
            if set(_TOKEN.findall(template)) <= values.keys():
                query = _TOKEN.sub(lambda found: values[found.group(1)], template)
                self._fill(filled, key, query)
        return filled

    def _fill(self, filled: dict[str, Any], key: str, query: str) -> None:
        path, _, parameters = query.partition("?")
        if "/" in path:
            filled[key] = self._hospital.store.resolve(path)
            return
        pairs = parse_qsl(parameters)
        try:
            found = searched(self._hospital.store, path, pairs).matched
        except BadSearchError:
            return
        base_url = self._hospital.places.fhir_base_url
        entries = [
            {"fullUrl": f"{base_url}/{r['resourceType']}/{r['id']}", "resource": r}
            for r in found[: int(dict(pairs).get("_count", "200"))]
        ]
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(found)}
        filled[key] = bundle | ({"entry": entries} if entries else {})


class _RefusedError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status
