"""What the product has filed about a patient, read through its FHIR API with the user's right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from markupsafe import Markup

from sandbox.web.chart import moment_text, text_of
from sandbox.web.narrative import narrative_as_html

if TYPE_CHECKING:
    from sandbox.web.accounts import Account
    from sandbox.web.hospital import Hospital

EHR_CLIENT_ID = "sandbox-ehr"
_TIMEOUT_S = (1.0, 5.0)
_TOKEN_LIFETIME_S = 60
_SCOPE = "patient/DiagnosticReport.rs patient/Observation.rs patient/Device.rs"


@dataclass(frozen=True, slots=True)
class AppReport:
    """One DiagnosticReport of the product: what the reader sees, and the resource itself."""

    title: str
    status: str
    at: str
    narrative: Markup
    resource: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AppReports:
    """The product's reports about a patient, or why there are none to show."""

    address: str
    reports: tuple[AppReport, ...] = ()
    failure: str | None = None


def read_app_reports(hospital: Hospital, account: Account, patient_id: str) -> AppReports:
    """Ask the product's FHIR API; never raises, the reports tab works without."""
    token = hospital.grants.issue_own(
        account,
        client_id=EHR_CLIENT_ID,
        scope=_SCOPE,
        patient_id=patient_id,
        lifetime_s=_TOKEN_LIFETIME_S,
    )
    address = f"{hospital.places.app_fhir_url}/DiagnosticReport?patient=Patient/{patient_id}"
    session = requests.Session()
    session.trust_env = False
    try:
        response = session.get(
            address,
            headers={
                "Authorization": f"Bearer {token.access_token}",
                "Accept": "application/fhir+json",
            },
            timeout=_TIMEOUT_S,
            allow_redirects=False,
        )
        if response.status_code != requests.codes.ok:
            return AppReports(
                address, failure=f"The report server answered {response.status_code}."
            )
        bundle = response.json()
    except (requests.RequestException, ValueError):
        return AppReports(address, failure="The report server cannot be reached.")
    finally:
        token.is_killed = True
        session.close()
    found = [entry.get("resource", {}) for entry in bundle.get("entry", ())]
    reports = [r for r in found if r.get("resourceType") == "DiagnosticReport"]
    return AppReports(address, tuple(_report(r) for r in reports))


def _report(resource: dict[str, Any]) -> AppReport:
    narrative = str(resource.get("text", {}).get("div", "")) or str(resource.get("conclusion", ""))
    return AppReport(
        title=text_of(resource.get("code")) or "Report",
        status=str(resource.get("status", "")),
        at=moment_text(str(resource.get("issued") or resource.get("effectiveDateTime") or "")),
        narrative=narrative_as_html(narrative),
        resource=resource,
    )
