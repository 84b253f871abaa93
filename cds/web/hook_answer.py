"""One hook call: read within the deadline, ask the silence table, answer the same twice."""

from __future__ import annotations

import logging
from concurrent.futures import Executor, wait
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from cds.domain.errors import CdsError, Reason
from cds.domain.silence import Assessment, SilenceDecision, decide, decide_for_user
from cds.domain.time_limit import TimeLimit
from cds.hooks.card import Card, response_json
from cds.hooks.from_report import card_from_subject
from cds.hooks.request import HookRequest
from cds.ports import AuditEvent, FhirAccess
from cds.web.engine_surface import HookAnalysis, MachineEngine
from cds.web.hook_state import (
    Caller,
    card_subject,
    patient_key,
    shown_keys,
    silence_options,
    silence_state,
    user_key,
)
from cds.web.outages import Outages

log = logging.getLogger(__name__)

ENGINE_MARGIN_S = 0.05  # the engine stops this much earlier, so that its "pending" still arrives
PENDING_ROW = 10
# Reasons that leave us without the record, which the service needs: 412.
_NO_RECORD = frozenset(
    {
        Reason.MISSING_CONTEXT,
        Reason.NOT_FOUND,
        Reason.UPSTREAM_FAILED,
        Reason.UPSTREAM_REFUSED,
        Reason.EGRESS_REFUSED,
    }
)


@dataclass(frozen=True, slots=True)
class HookDoor:
    """What every call of one application shares.

    Attributes
    ----------
    executor
        Where analyses run, so that a call can end without them.

    """

    engine: MachineEngine
    executor: Executor
    outages: Outages


@dataclass(frozen=True, slots=True, repr=False)
class HookCall:
    """One call: what is asked, of which service, for whom, and until when it is answered."""

    cds_service_id: str
    request: HookRequest
    caller: Caller
    limit: TimeLimit

    def __repr__(self) -> str:
        return f"HookCall({self.request.hook_instance}, <redacted>)"


def answer_hook(door: HookDoor, call: HookCall) -> dict[str, Any]:
    """Return the body of the answer; a repeated call gets the same one.

    Raises
    ------
    CdsError
        NOT_AUTHORIZED if `fhirServer` is not this EHR's; MISSING_CONTEXT if the record can be had
        neither from prefetch nor from the EHR; IDENTITY_MISMATCH if a prefetched resource is about
        another patient; INVALID_REQUEST if the hookInstance was used for another question.

    """
    registration = call.caller.registration
    server = call.request.fhir_server
    if server is not None and server.rstrip("/") != registration.fhir_base_url.rstrip("/"):
        raise CdsError(
            Reason.NOT_AUTHORIZED, "fhirServer is not the FHIR server registered for this EHR."
        )
    place = (registration.ehr_id, call.cds_service_id, call.request.hook_instance)
    question = _question(door.engine, call)
    earlier = door.engine.hook_calls.answer_for(*place)
    if earlier is not None:
        return _repeated(earlier, question)
    decision, cards = _decided(door, call)
    response = response_json(cards)
    door.engine.hook_calls.save(
        *place, answer={"question": question, "response": response}, silence_row=decision.row
    )
    _record_answer(door.engine, call, decision)
    return response


def _question(engine: MachineEngine, call: HookCall) -> str:
    """Return a keyed hash of who asked about whom."""
    asked = f"{call.request.user_ref}|{call.request.patient_id}"
    return engine.keys.patient_key(f"{call.caller.registration.ehr_id}/question", asked)


def _repeated(earlier: dict[str, Any], question: str) -> dict[str, Any]:
    if earlier.get("question") != question:
        raise CdsError(
            Reason.INVALID_REQUEST, "This hookInstance was used for another question before."
        )
    response: dict[str, Any] = earlier["response"]
    return response


def _decided(door: HookDoor, call: HookCall) -> tuple[SilenceDecision, tuple[Card, ...]]:
    by_user = decide_for_user(call.caller.user_type, silence_options(call.caller.registration))
    if by_user is not None:  # nothing is read for a user who will see nothing
        return by_user, ()
    analysis = _analysed_in_time(door, call)
    if analysis is None:
        return SilenceDecision(PENDING_ROW), ()
    return _judged(door, call, analysis)


def _judged(
    door: HookDoor, call: HookCall, analysis: HookAnalysis
) -> tuple[SilenceDecision, tuple[Card, ...]]:
    caller, engine = call.caller, door.engine
    options = silence_options(caller.registration)
    state = silence_state(analysis, caller, options)
    since = None
    if state.assessment is Assessment.UPSTREAM_DOWN:
        since = door.outages.failed(caller.registration.ehr_id, caller.now)
    elif analysis.report is not None:
        door.outages.worked(caller.registration.ehr_id)
    decision = decide(state, options)
    if decision.kind is None or analysis.study is None:
        return decision, ()
    keys = shown_keys(engine, analysis, decision.kind, caller=caller, outage_since=since)
    who = user_key(engine, caller)
    if any(engine.hook_calls.was_shown(caller.registration.ehr_id, who, key) for key in keys):
        decision = decide(replace(state, is_shown_before=True), options)
    if decision.kind is None:
        return decision, ()
    subject = card_subject(engine, analysis, analysis.study, caller, outage_since=since)
    card = card_from_subject(decision.kind, subject, card_uuid=str(uuid4()))
    engine.hook_calls.mark_shown(caller.registration.ehr_id, who, keys[0], silence_row=decision.row)
    if analysis.report is not None:
        place = (analysis.report.ehr_id, analysis.report.report_id)
        engine.background.lives.note_view(*place, viewer=caller.user_ref, door="hook")
    return decision, (card,)


def _analysed_in_time(door: HookDoor, call: HookCall) -> HookAnalysis | None:
    """Return what was found in time, or None; a late analysis ends at its own, earlier deadline."""
    future = door.executor.submit(
        door.engine.analyse_for_hook,
        _access(call),
        prefetch=call.request.prefetch,
        deadline=call.limit.earlier_by(ENGINE_MARGIN_S),
        as_of=call.caller.now,
    )
    finished, _ = wait((future,), timeout=call.limit.remaining_s())
    if not finished:
        future.cancel()
        return None
    try:
        return future.result()
    except CdsError as error:
        if error.reason is Reason.DEADLINE:
            return None
        _record_refusal(door.engine, call, error)
        raise _for_the_client(error) from None


def _access(call: HookCall) -> FhirAccess:
    """Return the caller's right; a token that has run out is none."""
    authorization = call.request.fhir_authorization
    is_usable = authorization is not None and authorization.expires_in_s > 0
    return FhirAccess(
        registration=call.caller.registration,
        access_token=authorization.access_token if authorization and is_usable else None,
        patient_id=call.request.patient_id,
    )


def _for_the_client(error: CdsError) -> CdsError:
    if error.reason not in _NO_RECORD:
        return error
    return CdsError(
        Reason.MISSING_CONTEXT,
        "The record can be had neither from prefetch nor from fhirServer. " + error.sentence,
    )


def _record_answer(engine: MachineEngine, call: HookCall, decision: SilenceDecision) -> None:
    held_back = f" held-back={decision.guarded_row}" if decision.guarded_row is not None else ""
    shown = "none" if decision.kind is None else decision.kind.value
    took_ms = max(0, engine.settings.hook_deadline_ms - round(call.limit.remaining_s() * 1000))
    detail = f"row={decision.row} card={shown}{held_back} ms={took_ms}"
    _record(engine, call, "success", detail)
    log.info(
        "hook-answered",
        extra={
            "ehr_id": call.caller.registration.ehr_id,
            "hook_instance": call.request.hook_instance,
            "silence_row": decision.row,
        },
    )


def _record_refusal(engine: MachineEngine, call: HookCall, error: CdsError) -> None:
    _record(engine, call, error.reason.value, None)


def _record(engine: MachineEngine, call: HookCall, outcome: str, detail: str | None) -> None:
    engine.audit.record(
        AuditEvent(
            ehr_id=call.caller.registration.ehr_id,
            action="hook.answered" if outcome == "success" else "hook.refused",
            outcome=outcome,
            who=user_key(engine, call.caller),
            patient_key=patient_key(engine, call.caller, call.request.patient_id),
            entity=call.request.hook_instance,
            detail=detail,
        )
    )
