"""`precedent ehr keys`: our key pairs at an EHR's token server, and their rotation.

The next key is always published already, so a rotation is one step: `--rotate`. The key before
stays published until the next rotation, or until `--withdraw-previous`.
"""

from __future__ import annotations

import argparse
import json

from rich.console import Console

from cds.adapters.storage import open_storage
from cds.domain.errors import CdsError, Reason
from cds.settings import settings_from_environment


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "keys",
        help="our keys at an EHR's token server, and their rotation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ehr_id", metavar="ID")
    parser.add_argument("--rotate", action="store_true", help="sign with the next key from now on")
    parser.add_argument(
        "--force", action="store_true", help="even if the next key was published just now"
    )
    parser.add_argument(
        "--withdraw-previous", action="store_true", help="publish the key before no longer"
    )
    parser.add_argument("--jwks", action="store_true", help="print the public key set as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the keys if there are none, rotate if asked, and print them.

    Raises
    ------
    CdsError
        NOT_FOUND if the EHR is not registered; INVALID_REQUEST as `SqlBackendKeys.rotate`.

    """
    storage = open_storage(settings_from_environment())
    registration = storage.registrations.by_id(arguments.ehr_id)
    if registration is None:
        raise CdsError(Reason.NOT_FOUND, f"No EHR {arguments.ehr_id} is registered.")
    keys, algorithm = storage.backend_keys, registration.backend_algorithm
    keys.ensure(registration.ehr_id, algorithm)
    if arguments.rotate:
        keys.rotate(registration.ehr_id, algorithm, force=arguments.force)
    if arguments.withdraw_previous:
        keys.withdraw_previous(registration.ehr_id)
    console = Console(soft_wrap=True, highlight=False)
    if arguments.jwks:
        console.print_json(json.dumps(keys.key_set(registration.ehr_id)))
    else:
        for key in keys.published(registration.ehr_id):
            made = key.created_at.isoformat(timespec="minutes")
            console.print(f"{key.state.value:9} {key.algorithm.value}  {key.key_id}  made {made}")
    storage.engine.dispose()
    return 0
