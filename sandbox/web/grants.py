"""Launches, authorization codes and tokens that the authorization server has given out."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from sandbox.web.accounts import Account
from sandbox.web.scopes import resource_scopes

LAUNCH_LIFETIME_S = 300
CODE_LIFETIME_S = 60
TOKEN_LIFETIME_S = 3600


@dataclass(frozen=True, slots=True)
class Launch:
    """What the EHR had open when it started the app."""

    launch_id: str
    account: Account
    patient_id: str
    encounter_id: str | None
    app_context: str | None
    fhir_context: tuple[dict[str, str], ...]
    created_at: float

    def token_parameters(self) -> dict[str, Any]:
        """Return the launch context as it stands in a token response."""
        parameters: dict[str, Any] = {"patient": self.patient_id, "need_patient_banner": False}
        if self.encounter_id:
            parameters["encounter"] = self.encounter_id
        if self.app_context:
            parameters["appContext"] = self.app_context
        if self.fhir_context:
            parameters["fhirContext"] = list(self.fhir_context)
        return parameters


@dataclass(slots=True)
class CodeRecord:
    """One authorization code; the `get_*` methods are authlib's names for its parts."""

    code: str
    client_id: str
    redirect_uri: str
    scope: str
    nonce: str | None
    code_challenge: str
    code_challenge_method: str
    launch: Launch
    issued_at: float
    is_used: bool = False

    def get_redirect_uri(self) -> str:
        """Return the address that the code was sent to."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """Return the granted scope."""
        return self.scope


@dataclass(slots=True)
class TokenRecord:
    """One access token, with its refresh token if there is one."""

    access_token: str
    client_id: str
    scope: str
    account: Account
    issued_at: float
    lifetime_s: int
    launch: Launch | None = None
    patient_id: str | None = None
    refresh_token: str | None = None
    code: str | None = None
    is_killed: bool = False
    refresh_is_spent: bool = False

    def check_client(self, client: Any) -> bool:  # noqa: ANN401  # authlib's client type
        """Tell whether the token was given to this client."""
        return bool(client.client_id == self.client_id)

    def get_scope(self) -> str:
        """Return the granted scope."""
        return self.scope

    def get_expires_in(self) -> int:
        """Return the lifetime in seconds."""
        return self.lifetime_s

    def is_expired(self) -> bool:
        """Tell whether the lifetime is over."""
        return time.time() >= self.issued_at + self.lifetime_s

    def is_revoked(self) -> bool:
        """Tell whether the token was taken back."""
        return self.is_killed

    def get_user(self) -> Account:
        """Return the person who granted it."""
        return self.account

    def is_limited_to_patient(self, resource_type: str, letter: str) -> bool | None:
        """Tell how far the token reaches: None not at all, True its patient only, False all."""
        contexts = {
            s.context for s in resource_scopes(self.scope) if s.covers(resource_type, letter)
        }
        if not contexts:
            return None
        return contexts == {"patient"}


@dataclass(slots=True)
class GrantBook:
    """Everything given out, in memory; a restart of the sandbox takes all of it back."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _launches: dict[str, Launch] = field(default_factory=dict)
    _codes: dict[str, CodeRecord] = field(default_factory=dict)
    _tokens: dict[str, TokenRecord] = field(default_factory=dict)

    def open_launch(
        self,
        account: Account,
        patient_id: str,
        *,
        encounter_id: str | None = None,
        app_context: str | None = None,
        fhir_context: tuple[dict[str, str], ...] = (),
    ) -> Launch:
        """Record that the EHR is about to start the app, and return the launch."""
        launch = Launch(
            secrets.token_urlsafe(24),
            account,
            patient_id,
            encounter_id,
            app_context,
            fhir_context,
            time.time(),
        )
        with self._lock:
            self._launches[launch.launch_id] = launch
        return launch

    def launch(self, launch_id: str) -> Launch | None:
        """Return an unspent launch that is younger than five minutes, or None."""
        found = self._launches.get(launch_id)
        if found is None or time.time() > found.created_at + LAUNCH_LIFETIME_S:
            return None
        return found

    def save_code(self, record: CodeRecord) -> None:
        """Keep a new code; its launch is spent with it."""
        with self._lock:
            self._codes[record.code] = record
            self._launches.pop(record.launch.launch_id, None)

    def take_code(self, code: str, client_id: str) -> CodeRecord | None:
        """Return a code at its first use; a second use kills the tokens of the first."""
        with self._lock:
            record = self._codes.get(code)
            if record is None or record.client_id != client_id:
                return None
            if record.is_used:
                for token in self._tokens.values():
                    token.is_killed = token.is_killed or token.code == code
                return None
            record.is_used = True
        is_late = time.time() > record.issued_at + CODE_LIFETIME_S
        return None if is_late else record

    def save_token(self, record: TokenRecord) -> None:
        """Keep a new token."""
        with self._lock:
            self._tokens[record.access_token] = record

    def token(self, text: str) -> TokenRecord | None:
        """Return the record of an access token that is still good, or None."""
        record = self._tokens.get(text)
        return record if record and not record.is_killed and not record.is_expired() else None

    def any_token(self, text: str) -> TokenRecord | None:
        """Return the record of an access or refresh token, whatever its state, or None."""
        return self._tokens.get(text) or self.by_refresh_token(text)

    def by_refresh_token(self, text: str) -> TokenRecord | None:
        """Return the record that a refresh token belongs to, or None."""
        return next((t for t in self._tokens.values() if t.refresh_token == text), None)

    def issue_own(
        self, account: Account, *, client_id: str, scope: str, patient_id: str, lifetime_s: int
    ) -> TokenRecord:
        """Give the EHR itself a token, for a hook call or for reading another system's API."""
        record = TokenRecord(
            access_token=secrets.token_urlsafe(32),
            client_id=client_id,
            scope=scope,
            account=account,
            issued_at=time.time(),
            lifetime_s=lifetime_s,
            patient_id=patient_id,
        )
        self.save_token(record)
        return record
