"""The people who may sign in to the sandbox; their passwords are shown on its screen."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

SANDBOX_PASSWORD = "sandbox"  # noqa: S105  # shown on the sign-in page on purpose


@dataclass(frozen=True, slots=True)
class Account:
    """One login; `fhir_user` is the reference of the person's FHIR resource."""

    login: str
    display: str
    role: str
    fhir_user: str

    def get_user_id(self) -> str:
        """Return the login: authlib's name for it."""
        return self.login


ACCOUNTS = (
    Account("dr.okafor", "Dr Ada Okafor", "Radiologist", "Practitioner/u-radiologist"),
    Account("dr.lindqvist", "Dr Jonas Lindqvist", "Ward physician", "Practitioner/u-ward"),
    Account("dr.moreau", "Dr Claire Moreau", "Emergency physician", "Practitioner/u-emergency"),
)


def account_named(login: str) -> Account | None:
    """Return the account with this login, or None."""
    return next((account for account in ACCOUNTS if account.login == login), None)


def sign_in(login: str, password: str) -> Account | None:
    """Return the account if the password fits, or None."""
    account = account_named(login.strip().lower())
    fits = hmac.compare_digest(password.encode(), SANDBOX_PASSWORD.encode())
    return account if fits else None
