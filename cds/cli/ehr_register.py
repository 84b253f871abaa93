"""`precedent ehr add` and `remove`: an EHR from flags or a TOML file, checked before it is kept."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path
from typing import Any

from rich.console import Console

from cds.adapters.arrival_memory import SqlArrivalMemory
from cds.adapters.registration_file import (
    check_registration,
    registration_from_values,
    secret_from_file,
    values_from_toml,
)
from cds.adapters.storage import SystemClock, open_storage
from cds.cli.ehr_show import print_registration
from cds.domain.errors import CdsError, Reason
from cds.domain.registration import ApprovalRole, ReportMode, SigningAlgorithm, Stage
from cds.domain.secrecy import SecretText
from cds.settings import settings_from_environment

NO_MRN_SYSTEM = (
    "No --mrn-system is agreed: nothing says whose numbers the PACS keeps as Patient ID. A picture "
    "is compared only if its birth date or study agrees as well; the readiness report fails on "
    "line 6."
)

# Flag -> (field, metavar, help); each takes one value.
_SINGLE = {
    "--name": ("name", "TEXT", "what people call this EHR"),
    "--fhir-base-url": ("fhir_base_url", "URL", "equal to the iss of its launches, byte by byte"),
    "--client-id": ("client_id", "ID", "our id as a SMART app there"),
    "--default-pacs-url": ("default_pacs_url", "URL", "DICOMweb root where a study names none"),
    "--pacs-user": ("pacs_user", "NAME", "our account at that PACS"),
    "--mrn-system": ("mrn_system", "URI", "identifier system of the PACS's Patient ID"),
    "--pacs-issuer": ("pacs_issuer", "TEXT", "Issuer of Patient ID of those numbers"),
    "--introspection-url": ("introspection_url", "URL", "where the discovery does not name it"),
    "--protocol-number": ("protocol_number", "TEXT", "of the study, for stage research"),
    "--department-label": ("department_label", "TEXT", "source of the cards"),
    "--time-zone": ("time_zone", "ZONE", "of the site, for example Europe/Berlin"),
    "--lookback-hours": ("lookback_hours", "N", "how old the newest study may be for a card"),
    "--backend-client-id": ("backend_client_id", "ID", "our id for backend services"),
    "--portal-release-rule": ("portal_release_rule", "TEXT", "when the portal shows our reports"),
    "--portal-release-owner": ("portal_release_owner", "NAME", "who named that rule"),
}
# Flag -> (field, metavar, help); each may be given more than once.
_REPEATED = {
    "--permitted-network": ("permitted_networks", "CIDR", "private network that may be contacted"),
    "--origin": ("origins", "URL", "further origin that may be contacted"),
    "--frame-ancestor": ("frame_ancestors", "ORIGIN", "origin that may frame the app"),
    "--backend-scope": ("backend_scopes", "SCOPE", "asked for without a user"),
}
_CHOICES = {
    "--stage": ("stage", [s.value for s in Stage]),
    "--report-mode": ("report_mode", [m.value for m in ReportMode]),
    "--backend-algorithm": ("backend_algorithm", [a.value for a in SigningAlgorithm]),
}


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands."""
    add = subparsers.add_parser(
        "add", help="register an EHR, or change its registration", description=__doc__
    )
    add.add_argument("ehr_id", metavar="ID", help="a segment of our addresses: [a-z0-9-]")
    add.add_argument("--from", dest="toml", type=Path, metavar="FILE", help="TOML file of fields")
    for flag, (field, metavar, text) in _SINGLE.items():
        add.add_argument(flag, dest=field, metavar=metavar, help=text)
    for flag, (field, metavar, text) in _REPEATED.items():
        add.add_argument(flag, dest=field, metavar=metavar, help=text, action="append")
    for flag, (field, values) in _CHOICES.items():
        add.add_argument(flag, dest=field, choices=values)
    add.add_argument("--client-secret-file", type=Path, metavar="FILE", help="mode 0600")
    add.add_argument("--pacs-password-file", type=Path, metavar="FILE", help="mode 0600")
    add.add_argument("--ask-secrets", action="store_true", help="ask for both on the terminal")
    add.add_argument("--cds-client", action="append", metavar="ISS=JKU", help="may call our hooks")
    add.add_argument(
        "--approval",
        action="append",
        metavar="ROLE=NAME=DATE",
        help=f"ROLE is one of {', '.join(r.value for r in ApprovalRole)}",
    )
    add.add_argument("--ready-card", action=argparse.BooleanOptionalAction)
    add.add_argument("--image-module", action=argparse.BooleanOptionalAction)
    add.add_argument("--replace", action="store_true", help="change what is registered already")
    add.set_defaults(run=run_add)
    remove = subparsers.add_parser("remove", help="forget an EHR and our keys there")
    remove.add_argument("ehr_id", metavar="ID")
    remove.add_argument("--yes", action="store_true", help="really")
    remove.set_defaults(run=run_remove)


def run_add(arguments: argparse.Namespace) -> int:
    """Check and keep the registration, make our keys, and print what the EHR has to know.

    Raises
    ------
    CdsError
        INVALID_REQUEST naming what is wrong, or if the EHR is registered already and ``--replace``
        was not given.

    """
    settings = settings_from_environment()
    storage = open_storage(settings)
    previous = storage.registrations.by_id(arguments.ehr_id)
    if previous is not None and not arguments.replace:
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"EHR {arguments.ehr_id} is registered already; --replace changes the fields you give.",
        )
    values = values_from_toml(arguments.toml) if arguments.toml else {}
    values |= _given(arguments)
    values["ehr_id"] = arguments.ehr_id
    registration = registration_from_values(values, previous=previous)
    check_registration(registration, development=settings.development)
    storage.registrations.save(registration)
    if registration.backend_client_id:
        storage.backend_keys.ensure(registration.ehr_id, registration.backend_algorithm)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"EHR {registration.ehr_id} is registered.\n")
    print_registration(console, registration, settings, storage.backend_keys)
    if registration.mrn_system is None:
        console.print(f"\n{NO_MRN_SYSTEM}", style="yellow")
    console.print(f"\nNext: precedent ehr check {registration.ehr_id}")
    storage.engine.dispose()
    return 0


def run_remove(arguments: argparse.Namespace) -> int:
    """Forget an EHR; what was stored for it stays.

    Raises
    ------
    CdsError
        NOT_FOUND if it is not registered; INVALID_REQUEST without ``--yes``.

    """
    storage = open_storage(settings_from_environment())
    if storage.registrations.by_id(arguments.ehr_id) is None:
        raise CdsError(Reason.NOT_FOUND, f"No EHR {arguments.ehr_id} is registered.")
    if not arguments.yes:
        raise CdsError(
            Reason.INVALID_REQUEST,
            "Hooks, launches and tokens of this EHR will be refused from now on; say --yes.",
        )
    storage.registrations.remove(arguments.ehr_id)
    storage.backend_keys.remove(arguments.ehr_id)
    memory = SqlArrivalMemory(storage.engine, storage.keys, SystemClock())
    memory.remove_subscriptions(arguments.ehr_id)
    storage.engine.dispose()
    Console(soft_wrap=True).print(f"EHR {arguments.ehr_id} is forgotten, and our keys there.")
    return 0


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields that the flags name."""
    names = [row[0] for row in (*_SINGLE.values(), *_REPEATED.values())]
    names += [row[0] for row in _CHOICES.values()] + ["ready_card", "image_module"]
    values: dict[str, Any] = {n: v for n in names if (v := getattr(arguments, n)) is not None}
    if arguments.cds_client:
        values["cds_clients"] = [_cds_client(text) for text in arguments.cds_client]
    if arguments.approval:
        values["approvals"] = [_approval(text) for text in arguments.approval]
    if arguments.client_secret_file:
        values["client_secret"] = secret_from_file(arguments.client_secret_file)
    if arguments.pacs_password_file:
        values["pacs_password"] = secret_from_file(arguments.pacs_password_file)
    if arguments.ask_secrets:
        values |= _asked()
    return values


def _asked() -> dict[str, SecretText]:
    prompts = {"client_secret": "Client secret", "pacs_password": "PACS password"}
    given = {name: getpass.getpass(f"{prompt} (empty: none): ") for name, prompt in prompts.items()}
    return {name: SecretText(text) for name, text in given.items() if text}


def _cds_client(text: str) -> dict[str, str]:
    issuer, separator, jku = text.rpartition("=")
    if not separator or not issuer:
        raise CdsError(Reason.INVALID_REQUEST, "--cds-client is ISSUER=JKU, both addresses.")
    return {"issuer": issuer, "jku": jku}


def _approval(text: str) -> dict[str, str]:
    parts = text.split("=")
    if len(parts) != 3:
        raise CdsError(
            Reason.INVALID_REQUEST, "--approval is ROLE=NAME=DATE, like privacy=N. Noor=2026-11-02."
        )
    return dict(zip(("role", "name", "approved_on"), parts, strict=True))
