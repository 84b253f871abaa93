"""`precedent ehr list` and `show`: what is registered here, and what to register at the EHR."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from rich.console import Console

from cds.adapters.backend_keys import SqlBackendKeys
from cds.adapters.storage import open_storage
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import EhrRegistration
from cds.domain.secrecy import SecretText
from cds.hooks.discovery import CDS_SERVICES
from cds.settings import Settings, settings_from_environment
from smart_app.launch.scopes import requested_scopes

V2, V1 = ("permission-v2",), ("permission-v1",)


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands."""
    every = subparsers.add_parser("list", help="the registered EHRs")
    every.add_argument("--json", action="store_true")
    every.set_defaults(run=run_list)
    show = subparsers.add_parser(
        "show", help="one registration, and what to register at the EHR", description=__doc__
    )
    show.add_argument("ehr_id", metavar="ID")
    show.add_argument("--json", action="store_true")
    show.set_defaults(run=run_show)


def run_list(arguments: argparse.Namespace) -> int:
    """Print one line for each EHR."""
    storage = open_storage(settings_from_environment())
    everyone = storage.registrations.all()
    storage.engine.dispose()
    console = Console(soft_wrap=True, highlight=False)
    if arguments.json:
        console.print_json(json.dumps([plain_values(one) for one in everyone]))
        return 0
    if not everyone:
        console.print("No EHR is registered; see `precedent ehr add --help`.")
    for one in everyone:
        backend = "backend services" if one.backend_client_id else "users' own tokens only"
        console.print(
            f"{one.ehr_id}  {one.name}  {one.fhir_base_url}  stage {one.stage.value}, {backend}",
            markup=False,
        )
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print one registration.

    Raises
    ------
    CdsError
        NOT_FOUND if it is not registered.

    """
    settings = settings_from_environment()
    storage = open_storage(settings)
    registration = storage.registrations.by_id(arguments.ehr_id)
    if registration is None:
        raise CdsError(Reason.NOT_FOUND, f"No EHR {arguments.ehr_id} is registered.")
    console = Console(soft_wrap=True, highlight=False)
    if arguments.json:
        document = {
            "registration": plain_values(registration),
            "register_there": addresses(registration, settings),
            "keys": [asdict(key) for key in storage.backend_keys.published(registration.ehr_id)],
        }
        console.print_json(json.dumps(document, default=str))
    else:
        for name, value in plain_values(registration).items():
            console.print(f"{name:22} {_text(value)}", markup=False)
        console.print()
        print_registration(console, registration, settings, storage.backend_keys)
    storage.engine.dispose()
    return 0


def plain_values(registration: EhrRegistration) -> dict[str, Any]:
    """Return the registration as plain values; a secret only as whether there is one."""
    values = asdict(registration)
    for name in ("client_secret", "pacs_password"):
        held = getattr(registration, name)
        values[name] = "set" if isinstance(held, SecretText) else None
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain


def addresses(registration: EhrRegistration, settings: Settings) -> dict[str, str]:
    """Return what the EHR team has to register, by what it is."""
    base = settings.public_url.rstrip("/")
    tenant = f"{base}/t/{registration.ehr_id}"
    found = {
        "Launch URL": f"{base}/launch",
        "Redirect URI": f"{base}/callback",
        "App scopes (v2)": requested_scopes(V2),
        "App scopes (v1)": requested_scopes(V1),
        "CDS Hooks base": f"{tenant}/cds-services",
        "FHIR API (reports)": f"{tenant}/fhir",
    }
    for one in CDS_SERVICES:
        found[f"JWT audience, {one.hook}"] = f"{tenant}/cds-services/{one.cds_service_id}"
    if registration.backend_client_id:
        found |= {
            "Backend client": registration.backend_client_id,
            "Backend key set (JWKS)": f"{tenant}/jwks.json",
            "Backend algorithm": f"{registration.backend_algorithm.value} (private_key_jwt)",
            "Backend scopes": " ".join(registration.backend_scopes),
        }
    return found


def print_registration(
    console: Console,
    registration: EhrRegistration,
    settings: Settings,
    keys: SqlBackendKeys,
) -> None:
    """Print what to register at the EHR."""
    console.print("Register at the EHR:")
    for name, value in addresses(registration, settings).items():
        console.print(f"  {name:26} {value}", markup=False)
    for key in keys.published(registration.ehr_id):
        console.print(f"  key {key.state.value:22} {key.key_id} ({key.algorithm.value})")
    if settings.public_url.startswith("http://"):
        console.print(
            "\nPRECEDENT_PUBLIC_URL has no TLS: these addresses serve for a sandbox only.",
        )


def _text(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
