"""Erase a patient from the library and prove it: every step can be repeated after a kill.

The order is the safety: what keeps the patient out comes first, then the rows in one transaction
that also notes which files have to go, then files, index and stored answers. A killed erasure is
run again and goes on behind its last noted step; the end is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from cds.domain.erasure import (
    ErasurePlan,
    ErasureReason,
    ErasureReceipt,
    ErasureRequest,
    ErasureStep,
    RemovedFile,
    RunningErasure,
    SearchOutcome,
    Tombstone,
    TombstoneKind,
)
from cds.ports import Clock

MAX_SEARCHES = 8  # pictures searched with before and after
SEARCH_CUTOFF = 50
NO_TRAINING = "Not used in training: no shipped model was trained on this collection."


class ErasureLedger(Protocol):
    """Keeps what was erased and what must not come back; each call is one transaction."""

    def begin(self, request: ErasureRequest, plan: ErasurePlan, at: datetime) -> RunningErasure:
        """Note an erasure with its tombstones."""
        ...

    def unfinished(self, patient_key: str) -> RunningErasure | None:
        """Return an erasure that was begun and not finished, or None."""
        ...

    def newest_receipt(self, patient_key: str) -> ErasureReceipt | None:
        """Return the proof of the patient's last erasure that was finished, or None."""
        ...

    def plan_of(self, patient_key: str) -> ErasurePlan:
        """Return what the library holds of a patient."""
        ...

    def remove_rows(self, running: RunningErasure, request: ErasureRequest) -> RunningErasure:
        """Remove the rows and note what else has to go."""
        ...

    def note(self, running: RunningErasure, step: ErasureStep, plan: ErasurePlan) -> RunningErasure:
        """Note that a step is behind."""
        ...

    def finish(self, running: RunningErasure, receipt: ErasureReceipt) -> None:
        """Keep the receipt, wipe the plan."""
        ...

    def tombstones(self) -> tuple[Tombstone, ...]:
        """Return every tombstone."""
        ...

    def add_tombstones(self, tombstones: Iterable[Tombstone]) -> None:
        """Note tombstones that this copy of the database lacks."""
        ...

    def patients_to_erase_again(self, patient_keys: Sequence[str]) -> tuple[str, ...]:
        """Return those of these patients who are in the library or half gone from it."""
        ...


class TombstoneFile(Protocol):
    """The tombstones outside the database, so that they outlive a restored backup of it."""

    def read(self) -> tuple[Tombstone, ...]:
        """Return every tombstone of the file."""
        ...

    def add(self, tombstones: Sequence[Tombstone]) -> None:
        """Append those that the file lacks, and wait until the disk has them."""
        ...


class PictureRemoval(Protocol):
    """Removes encrypted pictures that nobody else shows."""

    def fingerprints(self, blob_keys: Sequence[str]) -> tuple[RemovedFile, ...]:
        """Return the files of these pictures that are there, with their checksums."""
        ...

    def remove(self, blob_keys: Sequence[str]) -> None:
        """Remove them, and what an interrupted write of them left; absent is fine."""
        ...


class LibrarySearch(Protocol):
    """Searches as the product does, and keeps the index in step."""

    def probes(self, picture_ids: Sequence[str]) -> tuple[tuple[float, ...], ...]:
        """Return the vectors of those pictures that have one."""
        ...

    def search(
        self, probes: Sequence[Sequence[float]], owners: Sequence[str], case_ids: Sequence[str]
    ) -> SearchOutcome:
        """Search with vectors, nothing excluded, and say where these cases were found."""
        ...

    def owners(self, picture_ids: Sequence[str]) -> tuple[str, ...]:
        """Return the EHR that owns each picture, empty for none, in the order of `probes`."""
        ...

    def generations(self) -> tuple[str, ...]:
        """Return the ids of every index generation on the disk."""
        ...

    def rebuild(self) -> str | None:
        """Build the index anew, make it current and return its id; None if nothing is left."""
        ...

    def other_files(self, generation_id: str | None) -> tuple[RemovedFile, ...]:
        """Return the files of every other generation, with their checksums."""
        ...

    def forget_others(self, generation_id: str | None) -> None:
        """Remove every other generation, and what interrupted builds left; absent is fine."""
        ...


class Traces(Protocol):
    """Looks for what might be left."""

    def redact_answers(self, case_ids: Sequence[str]) -> int:
        """Blank the erased cases in stored answers; return how many answers were changed."""
        ...

    def compact(self) -> bool:
        """Overwrite what deleted rows left in files; False if that was not possible now."""
        ...

    def find(self, ids: Sequence[str]) -> int:
        """Return in how many files and rows one of these ids is still found."""
        ...

    def named_in_audit(self, case_ids: Sequence[str]) -> int:
        """Return how many of these cases the audit trail names, by their opaque ids."""
        ...

    def readers_of(self, generation_ids: Sequence[str]) -> int | None:
        """Return how many processes still map these generations; None where unknown."""
        ...


@dataclass(frozen=True, slots=True)
class ErasureTools:
    """What an erasure works with.

    Attributes
    ----------
    training_note
        Collections of the erased cases -> what is known about models trained with them.

    """

    ledger: ErasureLedger
    tombstone_file: TombstoneFile
    pictures: PictureRemoval
    search: LibrarySearch
    traces: Traces
    clock: Clock
    training_note: Callable[[Sequence[str]], str]


class LibraryErasure:
    """Erases patients, one at a time; safe to be killed and run again at any point."""

    def __init__(self, tools: ErasureTools) -> None:
        self._tools = tools

    def erase(self, request: ErasureRequest) -> ErasureReceipt:
        """Erase a patient; also one who is not in the library is kept out from now on.

        Asked again after the end, it returns the receipt that was kept.

        Raises
        ------
        CdsError
            What the index raises when it cannot be rebuilt; run it again then.

        """
        ledger = self._tools.ledger
        running = ledger.unfinished(request.patient_key)
        if running is None:
            present = ledger.plan_of(request.patient_key)
            proof = ledger.newest_receipt(request.patient_key)
            if proof is not None and proof.is_proved and not present.case_ids:
                return proof  # it ended after its last note, before anybody saw the receipt
            running = self._begun(request, present)
        self._keep_out()
        if running.step.is_behind(ErasureStep.ROWS_REMOVED):
            running = ledger.remove_rows(running, request)
        if running.step.is_behind(ErasureStep.PICTURES_REMOVED):
            running = self._without_pictures(running)
        if running.step.is_behind(ErasureStep.INDEX_REBUILT):
            running = self._without_index(running)
        if running.step.is_behind(ErasureStep.ANSWERS_REDACTED):
            n_redacted = self._tools.traces.redact_answers(running.plan.case_ids)
            plan = replace(
                running.plan, n_answers_redacted=running.plan.n_answers_redacted + n_redacted
            )
            running = ledger.note(running, ErasureStep.ANSWERS_REDACTED, plan)
        receipt = self._receipt(running, request)
        ledger.finish(running, receipt)
        return receipt

    def replay(self) -> tuple[ErasureReceipt, ...]:
        """Apply every tombstone again: after a backup was restored, before anybody is answered."""
        ledger, file = self._tools.ledger, self._tools.tombstone_file
        ledger.add_tombstones(file.read())
        self._keep_out()
        patients = [t.key for t in ledger.tombstones() if t.kind is TombstoneKind.PATIENT]
        return tuple(
            self.erase(ErasureRequest(key, ErasureReason.REPLAY))
            for key in ledger.patients_to_erase_again(patients)
        )

    def _begun(self, request: ErasureRequest, plan: ErasurePlan) -> RunningErasure:
        tools = self._tools
        searched = plan.picture_ids[:MAX_SEARCHES]
        probes, owners = tools.search.probes(searched), tools.search.owners(searched)
        before = tools.search.search(probes, owners, plan.case_ids)
        plan = replace(
            plan,
            probes=probes,
            owners=owners,
            before=before,
            generations_before=tools.search.generations(),
        )
        return tools.ledger.begin(request, plan, tools.clock.now())

    def _keep_out(self) -> None:
        """Copy the tombstones to the file beside the database before anything is removed."""
        self._tools.tombstone_file.add(self._tools.ledger.tombstones())

    def _without_pictures(self, running: RunningErasure) -> RunningErasure:
        """Note the checksums first: a removed file cannot be asked again."""
        tools, plan = self._tools, running.plan
        known = {file.name for file in plan.files}
        found = tools.pictures.fingerprints(plan.blob_keys)
        plan = replace(plan, files=(*plan.files, *(f for f in found if f.name not in known)))
        running = tools.ledger.note(running, running.step, plan)
        tools.pictures.remove(plan.blob_keys)
        return tools.ledger.note(running, ErasureStep.PICTURES_REMOVED, plan)

    def _without_index(self, running: RunningErasure) -> RunningErasure:
        """Build without the patient, note the checksums, then remove the other generations."""
        tools = self._tools
        generation = tools.search.rebuild()
        known = {file.name for file in running.plan.files}
        files = [f for f in tools.search.other_files(generation) if f.name not in known]
        plan = replace(
            running.plan, generation_after=generation, files=(*running.plan.files, *files)
        )
        running = tools.ledger.note(running, running.step, plan)
        tools.search.forget_others(generation)
        return tools.ledger.note(running, ErasureStep.INDEX_REBUILT, plan)

    def _receipt(self, running: RunningErasure, request: ErasureRequest) -> ErasureReceipt:
        tools, plan = self._tools, running.plan
        gone = tuple(g for g in plan.generations_before if g != plan.generation_after)
        after = tools.search.search(plan.probes, plan.owners, plan.case_ids)
        is_compact = tools.traces.compact()
        readers = tools.traces.readers_of(gone)
        return ErasureReceipt(
            erasure_id=running.erasure_id,
            reason=request.reason.value,
            approver=request.approver,
            begun_at=running.begun_at,
            finished_at=tools.clock.now(),
            n_cases=len(plan.case_ids),
            n_pictures=len(plan.picture_ids),
            before=plan.before,
            after=after,
            removed_rows={name: n for name, n in plan.removed.items() if n},
            removed_files=plan.files,
            generations_removed=gone,
            generation_now=plan.generation_after,
            n_answers_redacted=plan.n_answers_redacted,
            n_readers_of_old_index=readers,
            n_traces_left=tools.traces.find([*plan.case_ids, *plan.picture_ids, *plan.blob_keys]),
            trained_models=tools.training_note(plan.collections),
            remarks=_remarks(
                is_compact=is_compact,
                readers=readers,
                n_in_audit=tools.traces.named_in_audit(plan.case_ids),
            ),
        )


def _remarks(*, is_compact: bool, readers: int | None, n_in_audit: int) -> tuple[str, ...]:
    remarks = ["Backups made before this erasure still hold the patient: replay after a restore."]
    if not is_compact:
        remarks.append(
            "The database was busy: deleted rows were not yet overwritten. Stop the service and "
            "run the same command again."
        )
    if readers:
        remarks.append(
            "Running workers still map the old index until their next query; restart them."
        )
    if n_in_audit:
        remarks.append(
            f"The audit trail keeps the opaque id of {n_in_audit} of the cases: who looked at them."
        )
    return tuple(remarks)
