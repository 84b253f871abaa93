"""Roll an encoder out beside the old one: checked, approved by two, switched in one step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cds.adapters.encoder_rollouts import SqlRollouts
from cds.adapters.writer_lock import WriterLock
from cds.domain.case import LibraryCase
from cds.domain.errors import CdsError, Reason
from cds.domain.query import BlockWeights, Eligibility, FusedQuery
from cds.domain.rollout import (
    N_APPROVERS,
    EncoderRef,
    FlipList,
    Rollout,
    RolloutKind,
    SiteCheck,
    SiteLimits,
    distinct_names,
    shares_label,
)
from cds.engine import Engine
from cds.engine.encoder_flips import N_ANSWERS, AskAgain, flip_list
from cds.engine.encoders import EncoderParts
from cds.library.embedding_run import embed_missing
from cds.ports import AuditEvent

INSTALLATION = "installation"  # stands for the EHR in audit events about all of them
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RolloutCheck:
    """What was found before a roll-out."""

    before: EncoderRef
    after: EncoderRef
    site: SiteCheck
    flips: FlipList

    def to_json(self) -> str:
        """Write as JSON: ids of answers, counts and names of findings; no patient, no library case.

        The frozen set is named by its checksum: a case that is erased later leaves no trace here.
        """
        content = asdict(self)
        limits, site = self.site.limits, content["site"]
        listed = "\n".join(sorted(limits.case_ids)).encode()
        del site["limits"]["case_ids"]
        site["limits"]["n_cases"] = len(limits.case_ids)
        site["limits"]["cases_sha256"] = hashlib.sha256(listed).hexdigest()
        site["missing"] = len(self.site.missing)
        return json.dumps(content, indent=1)


class EncoderRollouts:
    """Prepares, checks, makes and takes back roll-outs of one installation.

    Parameters
    ----------
    engine
        Of the installation.
    ask_again
        Reads the question of a kept answer again; None asks its EHR and PACS.

    """

    def __init__(self, engine: Engine, *, ask_again: AskAgain | None = None) -> None:
        self._engine = engine
        self._ask_again = ask_again
        self._rollouts = SqlRollouts(engine.storage.engine)

    def prepare(self, name: str, progress: Progress | None = None) -> EncoderParts:
        """Embed the library with an encoder and build its index beside the serving one.

        Raises
        ------
        CdsError
            NOT_FOUND if there is no such encoder; INDEX_UNAVAILABLE for an empty library.

        """
        parts = self._engine.encoders.named(name)
        self._embed(parts, progress)
        parts.upkeep.build(only_if_due=True)
        with self._lock(parts).held():
            parts.generations.tidy()
        return parts

    def check(
        self,
        parts: EncoderParts,
        limits: SiteLimits,
        *,
        n_answers: int = N_ANSWERS,
        progress: Progress | None = None,
    ) -> RolloutCheck:
        """Compare an encoder, whose index is built, with the serving one.

        Raises
        ------
        CdsError
            INVALID_REQUEST if it serves already; INDEX_UNAVAILABLE if an index is missing.

        """
        serving = self._engine.encoders.serving()
        if serving.embedder.encoder_hash == parts.embedder.encoder_hash:
            raise CdsError(
                Reason.INVALID_REQUEST, f"{parts.embedder.encoder_name} is serving already."
            )
        flips = flip_list(
            self._engine,
            (serving.analyst, parts.analyst),
            ask_again=self._ask_again,
            limit=n_answers,
            progress=progress,
        )
        return RolloutCheck(_ref(serving), _ref(parts), self._site(serving, parts, limits), flips)

    def promote(
        self, parts: EncoderParts, checked: RolloutCheck, approvers: Sequence[str]
    ) -> Rollout:
        """Let a checked encoder serve from now on.

        What was approved and by whom is noted first, then one file is replaced: encoder, index
        and limits change together. Kept answers of the old encoder are not served again, since
        encoder and generation are part of what an answer is found by; they stay with the record.

        Raises
        ------
        CdsError
            INVALID_REQUEST if limits are not kept, two people have not approved it, or something
            else serves by now than was checked.

        """
        names = distinct_names(approvers)
        if len(names) < N_APPROVERS:
            raise CdsError(
                Reason.INVALID_REQUEST,
                f"A roll-out needs {N_APPROVERS} different people who approve it: --approver NAME, "
                "twice.",
            )
        why_refused = checked.site.why_refused()
        if why_refused is not None:
            raise CdsError(Reason.INVALID_REQUEST, f"Nothing was switched: {why_refused}")
        self._embed(parts, None)  # what was imported during the check
        return self._switched(RolloutKind.PROMOTE, checked.before, parts, names, checked.to_json())

    def rollback(self, who: Sequence[str], progress: Progress | None = None) -> Rollout:
        """Let the encoder before this one serve again, at once.

        Its index is opened first, and built from its kept vectors where it is missing, for example
        after an erasure. Pictures that came in meanwhile are embedded afterwards.

        Raises
        ------
        CdsError
            INVALID_REQUEST if nobody is named or nothing was rolled out; NOT_FOUND if the encoder
            before is not there any more.

        """
        names = distinct_names(who)
        if not names:
            raise CdsError(Reason.INVALID_REQUEST, "Say who takes it back: --by NAME.")
        serving = self._engine.encoders.serving()
        made = self._rollouts.newest_to(serving.embedder.encoder_hash)
        if made is None:
            raise CdsError(Reason.INVALID_REQUEST, "No roll-out led to the encoder that serves.")
        parts = self._engine.encoders.with_hash(made.before.encoder_hash)
        if parts is None:
            raise CdsError(
                Reason.NOT_FOUND,
                f"The encoder {made.before.name} is not there any more; add it again.",
            )
        if not _can_answer(parts):
            parts.upkeep.build()
        done = self._switched(RolloutKind.ROLLBACK, _ref(serving), parts, names, None)
        self._embed(parts, progress)
        return done

    def _switched(
        self,
        kind: RolloutKind,
        before: EncoderRef,
        parts: EncoderParts,
        names: tuple[str, ...],
        report: str | None,
    ) -> Rollout:
        engine = self._engine
        with self._lock(parts).held():
            serving = engine.encoders.serving().embedder.encoder_hash
            if serving != before.encoder_hash:
                raise CdsError(
                    Reason.INVALID_REQUEST, "Another encoder serves by now; check again."
                )
            after = _ref(parts)
            rollout = Rollout(kind, before, after, names, engine.clock.now(), report)
            self._rollouts.add(rollout)
            if after.generation_id is not None:
                engine.storage.embeddings.mark_current(after.generation_id)
            parts.generations.serve()
        engine.audit.record(
            AuditEvent(
                INSTALLATION,
                f"encoder.{kind.value}",
                "success",
                who=", ".join(names),
                entity=f"{after.name} {after.encoder_hash[:12]}",
                detail=f"before: {before.name} {before.encoder_hash[:12]}",
            )
        )
        return rollout

    def _lock(self, parts: EncoderParts) -> WriterLock:
        return WriterLock(parts.generations.folder, self._engine.storage.engine)

    def _embed(self, parts: EncoderParts, progress: Progress | None) -> int:
        storage = self._engine.storage
        return embed_missing(
            parts.embedder, embeddings=storage.embeddings, blobs=storage.blobs, progress=progress
        )

    def _site(self, serving: EncoderParts, parts: EncoderParts, limits: SiteLimits) -> SiteCheck:
        """Return P@k of both encoders, each case asked without its own patient."""
        cases = self._engine.storage.catalogue.cases(limits.case_ids)
        found: list[tuple[float, float]] = []
        missing = []
        for case_id in limits.case_ids:
            pair = self._precisions(cases.get(case_id), (serving, parts), limits.cutoff)
            if pair is None:
                missing.append(case_id)
            else:
                found.append(pair)
        means = np.array(found).reshape(-1, 2).mean(axis=0) if found else np.zeros(2)
        return SiteCheck(limits, len(found), tuple(missing), float(means[0]), float(means[1]))

    def _precisions(
        self, case: LibraryCase | None, encoders: tuple[EncoderParts, EncoderParts], cutoff: int
    ) -> tuple[float, float] | None:
        if case is None or not case.findings:
            return None
        before, after = (self._precision(case, parts, cutoff) for parts in encoders)
        return None if before is None or after is None else (before, after)

    def _precision(self, case: LibraryCase, parts: EncoderParts, cutoff: int) -> float | None:
        vectors = self._engine.storage.embeddings.embeddings_of(
            parts.embedder.encoder_hash, [p.picture_id for p in case.pictures]
        )
        images = [vectors[p.picture_id] for p in case.pictures if p.picture_id in vectors]
        if not images:
            return None
        query = FusedQuery(BlockWeights(1.0), image=images[0])
        eligibility = Eligibility(
            known_before=self._engine.clock.now(),
            ehr_id=case.owner_ehr_id,
            excluded_patient_keys=frozenset({case.patient_key}),
            excluded_study_keys=frozenset({case.study_key}),
        )
        hits = parts.library.rank(query, eligibility, cutoff=cutoff).hits
        return sum(shares_label(case, hit.case) for hit in hits) / cutoff


def limits_from_file(path: Path) -> SiteLimits:
    """Read a site's limits file.

    Raises
    ------
    CdsError
        INVALID_REQUEST if it is not as docs/roll-out-an-encoder.md describes it.

    """
    try:
        document = json.loads(path.read_text("utf-8"))
        return SiteLimits(
            cutoff=int(document["k"]),
            case_ids=tuple(str(case_id) for case_id in document["cases"]),
            smallest_precision=float(document["smallest_precision"]),
            largest_drop=float(document["largest_drop"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CdsError(
            Reason.INVALID_REQUEST,
            f"The limits file cannot be read ({type(error).__name__}); see "
            "docs/roll-out-an-encoder.md.",
        ) from None


def _ref(parts: EncoderParts) -> EncoderRef:
    embedder = parts.embedder
    return EncoderRef(embedder.encoder_name, embedder.encoder_hash, parts.generations.current_id())


def _can_answer(parts: EncoderParts) -> bool:
    if not parts.generations.has_generation():
        return False
    try:
        parts.library.view()
    except CdsError as error:
        if error.reason is not Reason.INDEX_UNAVAILABLE:
            raise
        return False
    return True
