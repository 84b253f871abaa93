"""Which EHR a request is for: the tenant in its path, or the only one where the alias is used."""

from __future__ import annotations

from typing import Any, cast

from flask import g

from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration
from cds.web.engine_surface import current_engine


def bind_tenant(_endpoint: str | None, arguments: dict[str, Any] | None) -> None:
    """Take ``ehr_id`` out of the URL's arguments and remember its registration for this request.

    Raises
    ------
    CdsError
        NOT_FOUND if the EHR is not registered; without an EHR in the path, if there is not
        exactly one.

    """
    ehr_id = (arguments or {}).pop("ehr_id", None)
    registrations = current_engine().registrations
    if ehr_id is not None:
        found = registrations.by_id(ehr_id)
        if found is None:
            raise CdsError(Reason.NOT_FOUND, "No EHR is registered under this address.")
        g.registration = found
        return
    everyone = registrations.all()
    if len(everyone) != 1:
        raise CdsError(
            Reason.NOT_FOUND,
            "There is not exactly one registered EHR: use the EHR's own base, "
            f"{tenant_base('{ehr}')}/fhir.",
        )
    g.registration = everyone[0]


def current_registration() -> EhrRegistration:
    """Return the EHR that the current request is for."""
    return cast("EhrRegistration", g.registration)


def tenant_base(ehr_id: str) -> str:
    """Return the base URL of a tenant as seen from outside."""
    return f"{public_url()}/t/{ehr_id}"


def public_url() -> str:
    """Return the installation's URL as seen from outside, without a slash at its end."""
    return current_engine().settings.public_url.rstrip("/")
