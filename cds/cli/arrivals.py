"""`precedent arrivals`: which arriving studies of an EHR are analysed before anyone asks."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from cds.arrival.study_analysis import registered
from cds.domain.arrival import NOT_ENROLLED, ArrivalRules
from cds.domain.time_limit import TimeLimit
from cds.engine import Engine, engine_from_settings
from cds.fhir.subscription import subscription
from cds.ports import FhirAccess
from cds.settings import settings_from_environment

SUBSCRIBE_SCOPE = "system/Subscription.cruds"
LIMIT_S = 30.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its actions."""
    parser = subparsers.add_parser(
        "arrivals", help="say which arriving studies are analysed", description=__doc__
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_enrol(actions)
    for name, call, summary in (
        ("withdraw", withdraw, "analyse nothing on arrival any longer"),
        ("subscribe", subscribe, "create a FHIR Subscription at the EHR"),
    ):
        action = actions.add_parser(name, help=summary)
        action.add_argument("--ehr", required=True, metavar="ID")
        action.set_defaults(run=call)
        if call is subscribe:
            action.add_argument("--without-payload", action="store_true")
    for name, call, summary in (
        ("exclude", exclude, "put a patient on the site's list"),
        ("readmit", readmit, "take a patient off the site's list"),
    ):
        action = actions.add_parser(name, help=summary)
        action.add_argument("--ehr", required=True, metavar="ID")
        action.add_argument("--patient", required=True, metavar="FHIR-ID")
        action.set_defaults(run=call)


def _add_enrol(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    enrol = actions.add_parser("enrol", help="analyse arriving studies of these kinds and places")
    enrol.add_argument("--ehr", required=True, metavar="ID")
    enrol.add_argument("--modality", action="append", required=True, help="repeatable, e.g. DX")
    enrol.add_argument(
        "--location", action="append", required=True, help="repeatable; * is every place"
    )
    enrol.add_argument("--legal-basis", required=True, help="purpose and legal basis, for the file")
    enrol.add_argument("--poll", action="store_true", help="ask the default PACS for new studies")
    enrol.add_argument("--poll-every", type=int, default=NOT_ENROLLED.poll_every_s, metavar="S")
    enrol.add_argument(
        "--complete-after", type=int, default=NOT_ENROLLED.complete_after_s, metavar="S"
    )
    enrol.set_defaults(run=enrol_ehr)


def enrol_ehr(arguments: argparse.Namespace) -> int:
    """Enrol an EHR; CdsError INVALID_REQUEST if it is not registered."""
    rules = ArrivalRules(
        is_enrolled=True,
        legal_basis=arguments.legal_basis,
        modalities=tuple(m.upper() for m in arguments.modality),
        locations=tuple(arguments.location),
        is_polled=arguments.poll,
        poll_every_s=arguments.poll_every,
        complete_after_s=arguments.complete_after,
    )
    return _with_rules(arguments.ehr, rules, "Enrolled.")


def withdraw(arguments: argparse.Namespace) -> int:
    """Enrol nothing any longer; CdsError INVALID_REQUEST if the EHR is not registered."""
    return _with_rules(arguments.ehr, NOT_ENROLLED, "Nothing is analysed on arrival any longer.")


def exclude(arguments: argparse.Namespace) -> int:
    """Put a patient on the site's list."""
    engine = _engine()
    registered(engine.registrations, arguments.ehr)
    engine.background.memory.exclude(arguments.ehr, arguments.patient)
    sys.stdout.write("The patient is on the site's list.\n")
    return 0


def readmit(arguments: argparse.Namespace) -> int:
    """Take a patient off the site's list."""
    engine = _engine()
    registered(engine.registrations, arguments.ehr)
    engine.background.memory.readmit(arguments.ehr, arguments.patient)
    sys.stdout.write("The patient is not on the site's list.\n")
    return 0


def subscribe(arguments: argparse.Namespace) -> int:
    """Create a Subscription at the EHR with a secret of its own.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION without credentials of ours; what the EHR's answer raises. The secret
        then is void.

    """
    engine = _engine()
    background, ehr_id = engine.background, arguments.ehr
    registration = registered(engine.registrations, ehr_id)
    deadline = TimeLimit(LIMIT_S)
    token = background.tokens.access_token(registration, scope=SUBSCRIBE_SCOPE, deadline=deadline)
    subscription_id, secret = background.memory.add_subscription(ehr_id)
    base = engine.settings.public_url.rstrip("/")
    resource = subscription(
        endpoint=f"{base}/t/{ehr_id}/notifications/{subscription_id}",
        secret=secret.reveal(),
        with_payload=not arguments.without_payload,
    )
    is_created = False
    try:
        created = background.lookup.create(FhirAccess(registration, token, ""), resource, deadline)
        is_created = True
    finally:
        if not is_created:
            background.memory.remove_subscription(ehr_id, subscription_id)
    sys.stdout.write(f"Subscription/{created} notifies {subscription_id}.\n")
    return 0


def _with_rules(ehr_id: str, rules: ArrivalRules, sentence: str) -> int:
    storage = _engine().storage
    registration = registered(storage.registrations, ehr_id)
    storage.registrations.save(replace(registration, arrival=rules))
    sys.stdout.write(f"{sentence}\n")
    return 0


def _engine() -> Engine:
    return engine_from_settings(settings_from_environment())
