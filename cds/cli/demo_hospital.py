"""The demo's hospital as the product knows it: its registration, and the secrets they share."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cds.domain.registration import CdsClient, EhrRegistration, ReportMode, Stage
from cds.domain.secrecy import SecretText

EHR_ID = "st-brevis"
CLIENT_ID = "precedent-app"
BACKEND_CLIENT_ID = "precedent-backend"
PACS_USER = "precedent"
EHR_HOST = "localhost"
PRIVATE_MODE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlaces:
    """Where the demo's two servers are.

    The EHR is on ``localhost`` and the app on ``127.0.0.1``, so that for the browser the app in the
    EHR's frame is a third party, as it is in a hospital.
    """

    ehr_port: int
    app_port: int

    @property
    def ehr_url(self) -> str:
        """Return the EHR's origin."""
        return f"http://{EHR_HOST}:{self.ehr_port}"

    @property
    def app_url(self) -> str:
        """Return the app's origin."""
        return f"http://127.0.0.1:{self.app_port}"


def shared_secrets(path: Path) -> dict[str, str]:
    """Return the secrets of the sandbox, made at the first start and kept for the owner alone."""
    if not path.is_file():
        made = {
            "client_id": CLIENT_ID,
            "client_secret": secrets.token_urlsafe(32),
            "pacs_user": PACS_USER,
            "pacs_password": secrets.token_urlsafe(32),
            "session_key": secrets.token_urlsafe(32),
        }
        path.touch(mode=PRIVATE_MODE)
        path.write_text(json.dumps(made), encoding="utf-8")
    kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return kept


def record_number_systems(fhir_dir: Path) -> tuple[str | None, str | None]:
    """Return the record-number system of the hospital's patients, and its issuer in DICOM."""
    for path in sorted(fhir_dir.glob("Patient-*.json")):
        patient: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        identifier = patient["identifier"][0]
        return identifier.get("system"), identifier.get("assigner", {}).get("display")
    return None, None


def demo_registration(
    places: DemoPlaces, shared: dict[str, str], systems: tuple[str | None, str | None]
) -> EhrRegistration:
    """Return the sandbox's registration; `systems` as `record_number_systems` returns them."""
    mrn_system, pacs_issuer = systems
    return EhrRegistration(
        ehr_id=EHR_ID,
        name="St. Brevis General Hospital (synthetic)",
        fhir_base_url=f"{places.ehr_url}/fhir",
        client_id=shared["client_id"],
        client_secret=SecretText(shared["client_secret"]),
        permitted_networks=("127.0.0.0/8", "::1/128"),
        origins=(places.ehr_url,),
        default_pacs_url=f"{places.ehr_url}/dicomweb",
        pacs_user=shared["pacs_user"],
        pacs_password=SecretText(shared["pacs_password"]),
        mrn_system=mrn_system,
        pacs_issuer=pacs_issuer,
        introspection_url=f"{places.ehr_url}/auth/introspect",
        cds_clients=(
            CdsClient(
                issuer=f"{places.ehr_url}/ehr",
                jku=f"{places.ehr_url}/.well-known/cds-hooks-jwks.json",
            ),
        ),
        stage=Stage.SANDBOX,
        report_mode=ReportMode.PRELIMINARY,
        ready_card=True,
        time_zone="UTC",
        frame_ancestors=(places.ehr_url,),
        backend_client_id=BACKEND_CLIENT_ID,
        portal_release_rule="never: the synthetic hospital has no portal",
        portal_release_owner="the sandbox",
    )
