"""Whose token a request carries."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from flask import request

if TYPE_CHECKING:
    from sandbox.web.grants import TokenRecord
    from sandbox.web.hospital import Hospital


def bearer_token(hospital: Hospital) -> TokenRecord | None:
    """Return the record of the request's access token if it is good, or None."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    return hospital.grants.token(text.strip()) if scheme.lower() == "bearer" else None


def is_pacs_account(hospital: Hospital) -> bool:
    """Tell whether the request carries the PACS account of the registered app (HTTP Basic)."""
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    expected = f"{hospital.secrets.pacs_user}:{hospital.secrets.pacs_password}"
    return hmac.compare_digest(f"{given.username}:{given.password}".encode(), expected.encode())
