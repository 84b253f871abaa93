"""Where the sandbox and the product are found, and the values that only the two share."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Addresses of one sandbox hospital and of the product that it calls.

    Attributes
    ----------
    base_url
        Origin of the EHR, for example ``http://localhost:8100``, without a trailing slash.
    app_url
        Origin of the product as a browser sees it.
    ehr_id
        The product's name for this EHR, a segment of its machine addresses.
    backend_client_id
        The product's id at the token server for work without a user.

    """

    base_url: str
    app_url: str
    ehr_id: str = "st-brevis"
    backend_client_id: str = "precedent-backend"

    @property
    def fhir_base_url(self) -> str:
        """Return the FHIR base, the `iss` of every launch."""
        return f"{self.base_url}/fhir"

    @property
    def dicomweb_url(self) -> str:
        """Return the DICOMweb service root."""
        return f"{self.base_url}/dicomweb"

    @property
    def hook_issuer(self) -> str:
        """Return the `iss` of the JWTs with which the EHR calls CDS services."""
        return f"{self.base_url}/ehr"

    @property
    def hook_jwks_url(self) -> str:
        """Return the `jku` of those JWTs."""
        return f"{self.base_url}/.well-known/cds-hooks-jwks.json"

    @property
    def cds_services_url(self) -> str:
        """Return the product's CDS Hooks discovery address."""
        return f"{self.app_url}/t/{self.ehr_id}/cds-services"

    @property
    def app_fhir_url(self) -> str:
        """Return the product's FHIR base for this EHR."""
        return f"{self.app_url}/t/{self.ehr_id}/fhir"

    @property
    def backend_key_set_url(self) -> str:
        """Return where the product publishes the keys with which it signs in without a user."""
        return f"{self.app_url}/t/{self.ehr_id}/jwks.json"

    @property
    def launch_url(self) -> str:
        """Return the only launch address that the EHR opens."""
        return f"{self.app_url}/launch"

    @property
    def redirect_url(self) -> str:
        """Return the only redirect address that the authorization server accepts for the app."""
        return f"{self.app_url}/callback"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSecrets:
    """What the product's registration and the sandbox both hold; made anew for every sandbox."""

    client_id: str = "precedent-app"
    client_secret: str = field(repr=False)
    pacs_user: str = "precedent"
    pacs_password: str = field(repr=False)
    session_key: str = field(repr=False)
