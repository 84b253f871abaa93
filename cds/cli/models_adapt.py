"""`precedent models adapt`: fit a site adapter on the library, or go back to the encoder's vectors.

The adapter is a linear map behind the frozen encoder, chosen by validation on whole patients. The
kept vectors are projected, nothing is embedded again.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cds.cli.progress import Steps
from cds.ports import AuditEvent
from cds.settings import settings_from_environment

if TYPE_CHECKING:
    from cds.engine import Engine
    from cds.engine.adaptation import AdapterProposal

SITE = "library"  # stands in the audit trail where no EHR is concerned


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "adapt", help="fit the search to this site's library", description=__doc__
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--remove", action="store_true", help="go back to the encoder's own vectors")
    what.add_argument("--dry-run", action="store_true", help="fit and measure, but change nothing")
    parser.add_argument("--seed", type=int, default=0, help="of folds and samples (default 0)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fit, measure, switch.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION before `precedent init`; INVALID_REQUEST with too few labelled
        patients; INDEX_UNAVAILABLE if no case is embedded.

    """
    from cds.engine import engine_from_settings  # loads onnxruntime: only when it is needed

    engine = engine_from_settings(settings_from_environment())
    console = Console(stderr=arguments.json, soft_wrap=True, highlight=False)
    answer = _removed(engine, console) if arguments.remove else _fitted(engine, arguments, console)
    if arguments.json:
        Console(soft_wrap=True, highlight=False).print_json(json.dumps(answer))
    return 0


def _removed(engine: Engine, console: Console) -> dict[str, Any]:
    from cds.engine.adaptation import adapter_in_use, use_adapter

    note = adapter_in_use(engine)
    if note is None:
        console.print("There is no site adapter: the encoder's own vectors are searched.")
        return {"adapter": None, "changed": False}
    passport = use_adapter(engine, None, on_wait=lambda: _waiting(console))
    engine.audit.record(AuditEvent(SITE, "adapter.removed", "success", entity=note.sha256))
    console.print(
        f"The site adapter {note.sha256[:12]} is removed; index {passport.generation_id} holds the "
        "encoder's own vectors."
    )
    return {"adapter": None, "changed": True, "generation_id": passport.generation_id}


def _fitted(engine: Engine, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    from cds.engine.adaptation import adapter_in_use, proposed_adapter, use_adapter

    with Steps(console, "Fitting and validating") as steps:
        proposal = proposed_adapter(engine, seed=arguments.seed, progress=steps.show)
    for line in proposal_lines(proposal):
        console.print(line, markup=False)
    answer: dict[str, Any] = {
        "kind": proposal.record.kind,
        "n_cases": proposal.record.n_cases,
        "n_patients": proposal.record.n_patients,
        "validation": dict(proposal.record.validation),
        "changed": False,
    }
    if arguments.dry_run:
        console.print("Nothing was changed (--dry-run).")
        return answer
    if proposal.adapter is None and adapter_in_use(engine) is None:
        console.print("The encoder's own vectors stay in use.")
        return answer
    passport = use_adapter(engine, proposal.adapter, on_wait=lambda: _waiting(console))
    sha256 = passport.adapter_sha256
    done = "adapter.removed" if sha256 is None else "adapter.fitted"
    engine.audit.record(AuditEvent(SITE, done, "success", entity=sha256))
    named = "without an adapter" if sha256 is None else f"with adapter {sha256[:12]}"
    console.print(f"Index {passport.generation_id} is in use, {named}.")
    console.print("Go back at any time with: precedent models adapt --remove")
    return {
        **answer,
        "changed": True,
        "adapter_sha256": sha256,
        "generation_id": passport.generation_id,
    }


def proposal_lines(proposal: AdapterProposal) -> tuple[str, ...]:
    """Return the figures as a person reads them."""
    choice = proposal.choice
    lines = [
        f"{proposal.record.n_cases} labelled cases of {proposal.record.n_patients} patients; "
        f"chosen: {proposal.record.kind}.",
        "Patients who chose and fitted nothing, mean over collections (95 % interval):",
    ]
    lines += [
        f"  {name:5}  before {choice.before[name].value:.3f}  after {choice.after[name].value:.3f}"
        f"  gain {choice.gain[name].value:+.3f} "
        f"({choice.gain[name].low:+.3f} to {choice.gain[name].high:+.3f})"
        for name in choice.gain
    ]
    for collection, values in proposal.record.validation["by_collection"].items():
        before, after = values["P@1"]
        lines.append(f"  {collection}: P@1 {before:.3f} -> {after:.3f}")
    if choice.is_identity:
        lines.append("No candidate is shown to be better than the encoder's own vectors.")
    return tuple(lines)


def _waiting(console: Console) -> None:
    console.print("Another process is building the index; waiting for it.")
