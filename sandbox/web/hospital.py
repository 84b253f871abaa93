"""One running sandbox hospital: its records, keys, grants and switches, shared by all its doors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sandbox.web.authorization_server import AuthorizationParts, RegisteredApp
from sandbox.web.backend_services import RegisteredSystem
from sandbox.web.dicom_folder import DicomFolder
from sandbox.web.fhir_store import FhirStore
from sandbox.web.grants import GrantBook
from sandbox.web.keys import SigningKeys
from sandbox.web.places import Places, SharedSecrets
from sandbox.web.switches import Switch


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital:
    """Everything that the blueprints of one sandbox share.

    Attributes
    ----------
    guide
        What each try-out patient shows: patient id -> (number, story, expected).

    """

    places: Places
    secrets: SharedSecrets
    store: FhirStore
    dicom: DicomFolder
    guide: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    data_dir: Path | None = None
    keys: SigningKeys = field(default_factory=SigningKeys)
    grants: GrantBook = field(default_factory=GrantBook)
    pacs_switch: Switch = field(default_factory=Switch)
    fhir_switch: Switch = field(default_factory=Switch)

    def authorization_parts(self) -> AuthorizationParts:
        """Return what the authorization server works with."""
        app = RegisteredApp(
            client_id=self.secrets.client_id,
            client_secret=self.secrets.client_secret,
            redirect_urls=(self.places.redirect_url,),
            launch_urls=(self.places.launch_url,),
        )
        system = RegisteredSystem(self.places.backend_client_id, self.places.backend_key_set_url)
        return AuthorizationParts(self.places, self.grants, self.keys, (app, system))
