"""`precedent library erase`: remove a patient from the library and print the proof."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from cds.domain.erasure import ErasureReason, ErasureReceipt, ErasureRequest
from cds.domain.errors import CdsError, Reason
from cds.ports import AuditEvent
from cds.settings import settings_from_environment

if TYPE_CHECKING:
    from cds.engine import Engine

EXIT_NOT_PROVED = 3
ASKED_FOR = "-"
LIBRARY = "library"  # stands in the audit trail where a case belongs to no EHR
_REASONS = [r.value for r in ErasureReason if r is not ErasureReason.REPLAY]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "erase", help="remove a patient and prove that he is gone", description=__doc__
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--patient",
        nargs=2,
        metavar=("NAMESPACE", "VALUE"),
        help="whose number it is (collection, identifier system or issuer), and the number; - asks "
        "for it, so that neither the list of processes nor the shell's history holds it",
    )
    what.add_argument(
        "--replay",
        action="store_true",
        help="apply every erasure again: run it after a backup was restored, before serving",
    )
    parser.add_argument("--approver", default="", help="name of the person who approved it")
    parser.add_argument(
        "--reason", choices=_REASONS, default=ErasureReason.ERASURE.value, help="why"
    )
    parser.add_argument("--json", action="store_true", help="print the receipts as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Erase and print the receipts; 3 if something of the patient was still found.

    Raises
    ------
    CdsError
        INVALID_REQUEST without an approver or number; INVALID_CONFIGURATION before
        `precedent init`; MODEL_UNAVAILABLE without an encoder.

    """
    from cds.engine import engine_from_settings  # loads onnxruntime: only when it is needed
    from cds.engine.erasure import library_erasure

    if not arguments.replay and not arguments.approver.strip():
        raise CdsError(Reason.INVALID_REQUEST, "Say who approved it: --approver NAME.")
    engine = engine_from_settings(settings_from_environment())
    erasure = library_erasure(engine)
    if arguments.replay:
        receipts = erasure.replay()
    else:
        receipts = (erasure.erase(_request(arguments, engine)),)
    for receipt in receipts:
        engine.audit.record(_audit_event(receipt))
    _print(receipts, as_json=arguments.json)
    return 0 if all(receipt.is_proved for receipt in receipts) else EXIT_NOT_PROVED


def _request(arguments: argparse.Namespace, engine: Engine) -> ErasureRequest:
    namespace, value = arguments.patient
    if value == ASKED_FOR:
        value = getpass.getpass("Patient number: ") if sys.stdin.isatty() else sys.stdin.readline()
        value = value.strip()
    if not value:
        raise CdsError(Reason.INVALID_REQUEST, "There is no patient number.")
    return ErasureRequest(
        patient_key=engine.keys.patient_key(namespace, value),
        reason=ErasureReason(arguments.reason),
        approver=arguments.approver.strip(),
        patient_value=value,
    )


def _audit_event(receipt: ErasureReceipt) -> AuditEvent:
    return AuditEvent(
        LIBRARY,
        "library.erased",
        "success" if receipt.is_proved else "not-proved",
        who=receipt.approver or None,
        entity=receipt.erasure_id,
        detail=receipt.reason,
    )


def _print(receipts: tuple[ErasureReceipt, ...], *, as_json: bool) -> None:
    if as_json:
        text = json.dumps([receipt.to_json() for receipt in receipts])
        Console(soft_wrap=True, highlight=False).print_json(text)
        return
    console = Console()
    if not receipts:
        console.print("Nothing to erase again: no erased patient is in the library.")
    for receipt in receipts:
        for line in receipt_lines(receipt):
            console.print(line, highlight=False, markup=False)


def receipt_lines(receipt: ErasureReceipt) -> tuple[str, ...]:
    """Return a receipt as a person reads it; it holds nothing of the patient."""
    before, after = receipt.before, receipt.after
    old = "unknown" if receipt.n_readers_of_old_index is None else receipt.n_readers_of_old_index
    rows = ", ".join(f"{name} {n}" for name, n in receipt.removed_rows.items()) or "none"
    return (
        f"Erasure {receipt.erasure_id} ({receipt.reason}), approved by {receipt.approver or '-'}",
        f"Finished {receipt.finished_at.isoformat(timespec='seconds')}",
        f"In the library: {receipt.n_cases} cases, {receipt.n_pictures} pictures",
        f"Searched with {before.n_searches} of the pictures before: "
        f"{before.n_at_rank_1} at rank 1; after: found {after.n_found} times",
        f"Removed rows: {rows}",
        f"Removed files: {len(receipt.removed_files)} (names and SHA-256 with --json)",
        f"Index: {len(receipt.generations_removed)} generations removed, "
        f"now {receipt.generation_now or 'none'}; processes with an old one open: {old}",
        f"Stored answers with a match removed on request: {receipt.n_answers_redacted}",
        f"Files and rows that still hold an id: {receipt.n_traces_left}",
        receipt.trained_models,
        *receipt.remarks,
        _verdict(receipt),
    )


def _verdict(receipt: ErasureReceipt) -> str:
    if not receipt.is_proved:
        return "NOT PROVED: something was still found. Run the command again."
    if not receipt.n_cases and not receipt.removed_rows:
        return (
            "The library held nothing under this number: check that namespace and number are those "
            "of the import. No import brings this number in from now on."
        )
    return "Proved: nothing was found any more."
