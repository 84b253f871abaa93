"""The EHRs that this installation knows; their secrets are encrypted."""

from __future__ import annotations

import re
from dataclasses import replace

from pydantic import TypeAdapter
from sqlalchemy import Engine, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cds.adapters.crypto import FieldCipher
from cds.adapters.sql.models import EhrRegistrationRow
from cds.adapters.sql.sealed_json import SealedJson
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration
from cds.domain.secrecy import SecretText
from cds.ports import Clock

_EHR_ID = re.compile(r"[a-z0-9-]{1,40}")


class SqlRegistrations:
    """Registered EHRs; implements `cds.ports.Registrations`, and changes them for the CLI."""

    def __init__(self, engine: Engine, cipher: FieldCipher, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._settings: TypeAdapter[EhrRegistration] = TypeAdapter(EhrRegistration)
        self._secrets = SealedJson(dict[str, str], cipher, "ehr_registration.secrets")

    def by_id(self, ehr_id: str) -> EhrRegistration | None:
        """Return the EHR with this id, or None."""
        with Session(self._engine) as session:
            row = session.get(EhrRegistrationRow, ehr_id)
            return None if row is None else self._registration(row)

    def by_iss(self, iss: str) -> EhrRegistration | None:
        """Return the EHR whose FHIR base URL equals `iss` byte by byte, or None."""
        query = select(EhrRegistrationRow).where(EhrRegistrationRow.fhir_base_url == iss)
        with Session(self._engine) as session:
            row = session.scalars(query).first()
            if row is None or row.fhir_base_url != iss:  # a database may compare more loosely
                return None
            return self._registration(row)

    def all(self) -> tuple[EhrRegistration, ...]:
        """Return every EHR, by id."""
        query = select(EhrRegistrationRow).order_by(EhrRegistrationRow.ehr_id)
        with Session(self._engine) as session:
            return tuple(self._registration(row) for row in session.scalars(query))

    def save(self, registration: EhrRegistration) -> None:
        """Register an EHR, or replace its registration.

        Raises
        ------
        CdsError
            INVALID_REQUEST if the id is no URL segment, or another EHR has this FHIR base URL.

        """
        if not _EHR_ID.fullmatch(registration.ehr_id):
            raise CdsError(
                Reason.INVALID_REQUEST,
                "An EHR id is 1 to 40 lower-case letters, digits or hyphens.",
            )
        now = self._clock.now()
        public = replace(registration, client_secret=None, pacs_password=None)
        values = {
            "fhir_base_url": registration.fhir_base_url,
            "settings": self._settings.dump_json(public).decode(),
            "secrets": self._secrets.seal(_revealed(registration), registration.ehr_id),
            "updated_at": now,
        }
        try:
            with Session(self._engine) as session, session.begin():
                row = session.get(EhrRegistrationRow, registration.ehr_id)
                if row is None:
                    row = EhrRegistrationRow(ehr_id=registration.ehr_id, created_at=now)
                    session.add(row)
                for name, value in values.items():
                    setattr(row, name, value)
        except IntegrityError:
            raise CdsError(
                Reason.INVALID_REQUEST, "Another EHR is registered with this FHIR base URL."
            ) from None

    def remove(self, ehr_id: str) -> None:
        """Forget an EHR; absent is fine. What was stored for it stays."""
        with Session(self._engine) as session, session.begin():
            session.execute(delete(EhrRegistrationRow).where(EhrRegistrationRow.ehr_id == ehr_id))

    def _registration(self, row: EhrRegistrationRow) -> EhrRegistration:
        public = self._settings.validate_json(row.settings)
        secrets = self._secrets.unseal(row.secrets, row.ehr_id)
        return replace(
            public,
            client_secret=_secret(secrets.get("client_secret")),
            pacs_password=_secret(secrets.get("pacs_password")),
        )


def _revealed(registration: EhrRegistration) -> dict[str, str]:
    """Return the secrets as text, on their way into the encrypted column."""
    found = {
        "client_secret": registration.client_secret,
        "pacs_password": registration.pacs_password,
    }
    return {name: secret.reveal() for name, secret in found.items() if secret is not None}


def _secret(text: str | None) -> SecretText | None:
    return None if text is None else SecretText(text)
