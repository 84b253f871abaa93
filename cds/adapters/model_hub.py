"""Downloads an encoder's files from a model hub: allowed hosts, one revision, known checksum."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin

import requests

from cds.adapters.egress_policy import EgressPolicy
from cds.adapters.egress_session import Bounds, EgressSession, Transport
from cds.adapters.egress_transport import PinnedAdapter, addresses_of
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration
from cds.domain.time_limit import TimeLimit

LIMIT_S = 3_600.0
MAX_MODEL_BYTES = 2 * 1024**3 - 1
MAX_TEXT_BYTES = 4 * 1024**2
MAX_HOPS = 4  # a hub answers with an address of its content servers
MODEL, CONFIG, PREPROCESSOR, CARD = (
    "model.onnx",
    "config.json",
    "preprocessor_config.json",
    "README.md",
)
MODEL_PLACES = (MODEL, f"onnx/{MODEL}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class HubSettings(Protocol):
    """What of `cds.settings.Settings` says whether and where encoders may be fetched."""

    @property
    def model_hub(self) -> str:
        """Return the allowed origins, comma-separated, the hub first; empty allows none."""
        ...

    @property
    def model_hub_networks(self) -> str:
        """Return the private networks that they may resolve to, comma-separated."""
        ...

    @property
    def development(self) -> bool:
        """Tell whether http is allowed."""
        ...

    @property
    def ca_file(self) -> Path | None:
        """Return the root certificates to trust instead of the public ones."""
        ...


def download(
    settings: HubSettings, name: str, revision: str | None, sha256: str | None
) -> Mapping[str, bytes]:
    """Fetch graph, configuration and card of one pinned revision.

    Parameters
    ----------
    settings
        Which hosts are allowed.
    name
        ``OWNER/NAME``.
    revision
        The commit, 40 hexadecimal digits: a branch may move.
    sha256
        Of ``model.onnx``, from a source that the administrator trusts.

    Returns
    -------
    Mapping
        File name to content, the graph as ``model.onnx``; the card only if there is one.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION where no hub is allowed; INVALID_REQUEST without revision and
        checksum; NOT_FOUND if a file is missing; MODEL_UNAVAILABLE if the graph is another one;
        EGRESS_REFUSED if an address is not allowed; UPSTREAM_FAILED if the hub does not answer.

    """
    origins = _listed(settings.model_hub)
    if not origins:
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            "Downloads of encoders are off. Name the allowed hosts in PRECEDENT_MODEL_HUB, or "
            "bring the folder here and add that.",
        )
    if not _NAME.fullmatch(name):
        raise CdsError(Reason.INVALID_REQUEST, "A hub's name has the form OWNER/NAME.")
    if not _REVISION.fullmatch(revision or "") or not _SHA256.fullmatch(sha256 or ""):
        raise CdsError(
            Reason.INVALID_REQUEST,
            "A download is pinned: give --revision with the commit's 40 hexadecimal digits and "
            "--sha256 with the checksum of model.onnx.",
        )
    hub = _Hub(settings, origins, f"{origins[0]}/{name}/resolve/{revision}")
    contents = {MODEL: hub.first(MODEL_PLACES, MAX_MODEL_BYTES)}
    if hashlib.sha256(contents[MODEL]).hexdigest() != sha256:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE, "The hub's model.onnx is not the one with this checksum."
        )
    contents[CONFIG] = hub.first((CONFIG,), MAX_TEXT_BYTES)
    contents[PREPROCESSOR] = hub.first((PREPROCESSOR,), MAX_TEXT_BYTES)
    try:
        contents[CARD] = hub.first((CARD,), MAX_TEXT_BYTES)
    except CdsError as error:
        if error.reason is not Reason.NOT_FOUND:
            raise
    return contents


class _HubSession(EgressSession):
    """An egress session that hands redirects back: each hop is checked like the first."""

    def _check_status(self, response: requests.Response, peer: str) -> None:
        if not response.is_redirect:
            super()._check_status(response, peer)


class _Hub:
    """One revision of one encoder at the hub."""

    def __init__(self, settings: HubSettings, origins: list[str], base_url: str) -> None:
        registration = EhrRegistration(
            ehr_id="model-hub",
            name="model hub",
            fhir_base_url=origins[0],
            client_id="",
            origins=tuple(origins),
            permitted_networks=tuple(_listed(settings.model_hub_networks)),
        )
        policy = EgressPolicy(registration, development=settings.development)
        verify = str(settings.ca_file) if settings.ca_file else True
        self._transport = Transport(policy, PinnedAdapter(policy, addresses_of), verify)
        self._names = {policy.checked_origin(origin): "The model hub" for origin in origins}
        self._base_url = base_url
        self._deadline = TimeLimit(LIMIT_S)

    def first(self, places: tuple[str, ...], max_bytes: int) -> bytes:
        """Return the first of these files that there is; NOT_FOUND if there is none."""
        for place in places:
            try:
                return self._fetched(f"{self._base_url}/{place}", max_bytes)
            except CdsError as error:
                if error.reason is not Reason.NOT_FOUND:
                    raise
        raise CdsError(Reason.NOT_FOUND, f"The hub has no {places[0]} in this revision.")

    def _fetched(self, url: str, max_bytes: int) -> bytes:
        bounds = Bounds(self._deadline, max_bytes, any_status=False)
        with _HubSession(self._transport, bounds, None, self._names) as session:
            for _ in range(MAX_HOPS):
                response = self._asked(session, url)
                if not response.is_redirect:
                    return response.content
                url = urljoin(url, response.headers["Location"])
        raise CdsError(Reason.UPSTREAM_FAILED, "The model hub leads from address to address.")

    @staticmethod
    def _asked(session: EgressSession, url: str) -> requests.Response:
        try:
            return session.get(url, headers={"Accept": "*/*"})
        except CdsError as error:
            if error.reason is Reason.UPSTREAM_FAILED and "status" not in error.facts:
                raise CdsError(
                    Reason.UPSTREAM_FAILED,
                    "The model hub cannot be reached from this machine. Download the folder "
                    "elsewhere, bring it here, and give its path to `precedent models add`.",
                ) from error
            raise


def _listed(text: str) -> list[str]:
    return [part.strip().rstrip("/") for part in text.split(",") if part.strip()]
