"""The FHIR resources of the people who may sign in."""

from __future__ import annotations

from typing import Any

from sandbox.web.accounts import ACCOUNTS


def practitioners() -> list[dict[str, Any]]:
    """Return one Practitioner per account, unless the records bring their own."""
    return [
        {
            "resourceType": "Practitioner",
            "id": account.fhir_user.partition("/")[2],
            "active": True,
            "name": [{"text": account.display, "family": account.display.split()[-1]}],
            "qualification": [{"code": {"text": account.role}}],
        }
        for account in ACCOUNTS
    ]
