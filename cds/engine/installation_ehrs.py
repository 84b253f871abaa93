"""One line for each registered EHR; its connections are `precedent ehr check`'s business."""

from __future__ import annotations

from collections.abc import Iterator

from cds.adapters.backend_keys import KeyState
from cds.adapters.egress_policy import EgressPolicy
from cds.adapters.storage import Storage
from cds.domain.check_line import CheckLine, failed, passed, unknown, warned
from cds.domain.errors import CdsError
from cds.domain.registration import ApprovalRole, EhrRegistration, Stage
from cds.settings import Settings


def ehr_lines(settings: Settings, storage: Storage | None) -> Iterator[CheckLine]:
    """Say how each EHR stands."""
    if storage is None:
        yield unknown("ehrs", "not tried: key file or database cannot be used")
        return
    everyone = storage.registrations.all()
    if not everyone:
        yield warned("ehrs", "no EHR is registered", "run: precedent ehr add --help")
    for registration in everyone:
        yield _ehr(registration, settings, storage)


def _ehr(registration: EhrRegistration, settings: Settings, storage: Storage) -> CheckLine:
    name = f"ehr {registration.ehr_id}"
    evidence = f"stage {registration.stage.value}"
    try:
        policy = EgressPolicy(registration, development=settings.development)
        policy.checked_origin(registration.fhir_base_url)
    except CdsError as error:
        return failed(name, error.sentence, f"precedent ehr add {registration.ehr_id} --replace")
    is_sandbox = registration.stage is Stage.SANDBOX
    if settings.development and not is_sandbox:
        return failed(
            name,
            f"{evidence}, but the development mode is on",
            "unset PRECEDENT_DEVELOPMENT, or register it with --stage sandbox",
        )
    roles = {approval.role for approval in registration.approvals}
    missing = [role.value for role in ApprovalRole if role not in roles]
    if missing and not is_sandbox:
        return warned(name, f"{evidence}; not approved by: {', '.join(missing)}", "add --approval")
    if registration.backend_client_id is not None:
        keys = storage.backend_keys.published(registration.ehr_id)
        signing = [k for k in keys if k.algorithm is registration.backend_algorithm]
        if not any(key.state is KeyState.ACTIVE for key in signing):
            return failed(
                name,
                f"{evidence}; no {registration.backend_algorithm.value} key to sign in with",
                f"run: precedent ehr keys {registration.ehr_id}",
            )
        evidence += ", backend services"
    return passed(name, f"{evidence}; connections: precedent ehr check {registration.ehr_id}")
