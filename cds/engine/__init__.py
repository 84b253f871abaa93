"""Composition: settings -> adapters and models -> engine; the only place that wires them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cds.adapters.backend_services import BackendServiceTokens
from cds.adapters.case_library import IndexedCaseLibrary
from cds.adapters.dicom_files import frames_from_file, start_decoding_process
from cds.adapters.egress import EgressClients
from cds.adapters.ehr_peers import EhrHttp, EhrPeers, TokenClaims
from cds.adapters.encoder_rollouts import recent_change
from cds.adapters.generations import INDEX_FOLDER
from cds.adapters.hook_calls import SqlHookCalls
from cds.adapters.seen_tokens import SqlSeenTokens
from cds.adapters.smart_configuration import SmartConfiguration
from cds.adapters.smart_sessions import SqlSessionStore
from cds.adapters.sql.engine import limit_waits
from cds.adapters.storage import Storage, SystemClock, open_storage
from cds.analysis import Analyst, HookAnalysis
from cds.domain.errors import CdsError, Reason
from cds.domain.generation import IndexPassport
from cds.domain.launch import LaunchAnalysis, StudyHint
from cds.domain.pixels import PixelFrame
from cds.domain.query import BlockWeights, CaseQuery
from cds.domain.region_pair import RegionPair
from cds.domain.registration import EhrRegistration
from cds.domain.report import CaseReport
from cds.domain.secrecy import SecretText
from cds.domain.source_attributes import SourceAttributeCard
from cds.domain.study import StudyRef
from cds.domain.uploaded import UploadedPicture, query_of_upload
from cds.engine.background import Background, open_background
from cds.engine.encoder_parts import PartsOverPorts
from cds.engine.encoders import Encoders, registry_of
from cds.engine.index_upkeep import IndexUpkeep
from cds.engine.picture_views import blob_of, listed_study, matched_frame, noise_png
from cds.engine.similarity_maps import RegionPictures, SimilarityMaps
from cds.library.picture_preparation import to_png
from cds.ports import (
    AuditEvent,
    AuditTrail,
    Clock,
    Deadline,
    FhirAccess,
    IdentityKeys,
    Registrations,
    ResultStore,
)
from cds.settings import Settings
from models.embedder import OnnxImageEmbedder

DOOR_WAIT_MS = 200  # for another writer of the database; a hook has to answer within 450 ms


@dataclass(frozen=True, slots=True)
class ReadinessCheck:
    """One thing that must work before calls are answered; the sentence is free of PHI."""

    name: str
    ok: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Engine:
    """Everything that the doors call, wired once.

    Attributes
    ----------
    settings, clock
        Of this installation.
    storage
        Database, blobs, keys.
    encoders
        Image encoders, each with its index and its analyst; one of them serves.
    peers
        Each EHR's servers, through the egress rules.
    backend_tokens
        Our own access tokens at the EHRs, for work without a user.

    """

    settings: Settings
    clock: Clock
    storage: Storage
    encoders: Encoders
    peers: EhrPeers
    hook_calls: SqlHookCalls
    seen_tokens: SqlSeenTokens
    sessions: SqlSessionStore
    backend_tokens: BackendServiceTokens
    background: Background
    similarity_maps: SimilarityMaps

    @property
    def embedder(self) -> OnnxImageEmbedder:
        """Return the encoder that serves now."""
        return self.encoders.serving().embedder

    @property
    def library(self) -> IndexedCaseLibrary:
        """Return the ranking by the encoder that serves now."""
        return self.encoders.serving().library

    @property
    def upkeep(self) -> IndexUpkeep:
        """Return what keeps the index of the encoder that serves now."""
        return self.encoders.serving().upkeep

    @property
    def analyst(self) -> Analyst:
        """Return the answers by the encoder that serves now; use one for a whole analysis."""
        return self.encoders.serving().analyst

    @property
    def registrations(self) -> Registrations:
        """Return the EHRs."""
        return self.storage.registrations

    @property
    def audit(self) -> AuditTrail:
        """Return the audit trail."""
        return self.storage.audit

    @property
    def results(self) -> ResultStore:
        """Return the kept answers."""
        return self.storage.results

    @property
    def keys(self) -> IdentityKeys:
        """Return the keyed hashes."""
        return self.storage.keys

    def analyse_for_hook(
        self,
        access: FhirAccess,
        *,
        prefetch: Mapping[str, Any] | None,
        deadline: Deadline,
        as_of: datetime,
    ) -> HookAnalysis:
        """Analyse the newest study (see `Analyst.for_hook`)."""
        return self.analyst.for_hook(access, prefetch=prefetch, deadline=deadline, as_of=as_of)

    def analyse_for_launch(
        self,
        access: FhirAccess,
        *,
        study_hint: StudyHint | None,
        weights: BlockWeights,
        deadline: Deadline,
    ) -> LaunchAnalysis:
        """Analyse the study that a launch is about (see `Analyst.for_launch`)."""
        return self.analyst.for_launch(
            access, study_hint=study_hint, weights=weights, deadline=deadline
        )

    def analyse_upload(self, upload: UploadedPicture, registration: EhrRegistration) -> CaseReport:
        """Compare a picture that a user brought along; bound to no patient, and nothing is kept.

        Raises
        ------
        CdsError
            What `frames_from_file` and `Analyst.for_pictures` raise; IMAGE_UNSUPPORTED where
            the image module is off.

        """
        if not (self.settings.image_module and registration.image_module):
            raise CdsError(Reason.IMAGE_UNSUPPORTED, "The image module is switched off.")
        frames = self.frames_from_file(upload.content, view_position=upload.view_position)
        query = query_of_upload(
            upload,
            frames,
            registration,
            as_of=self.clock.now(),
            weights=BlockWeights(self.settings.image_weight),
            cutoff=self.settings.cutoff,
        )
        return self.analyst.for_pictures(query, stage=registration.stage)

    def query_picture_png(
        self, access: FhirAccess, study: StudyRef, *, deadline: Deadline
    ) -> bytes:
        """Return the query's own picture, fetched with the user's right and bound again.

        Raises
        ------
        CdsError
            What `FhirReader.read_context`, `listed_study` and `Analyst.frames_of` raise.

        """
        return to_png(self._query_frames(access, study, deadline)[0])[2]

    def region_pictures(
        self,
        access: FhirAccess,
        study: StudyRef,
        pair: RegionPair,
        *,
        who: str,
        deadline: Deadline,
    ) -> RegionPictures:
        """Return both pictures with what makes them similar (`SimilarityMaps.of_pair`); audited.

        Of CT and MR, the two slices that matched.

        Raises
        ------
        CdsError
            As `query_picture_png`; what `matched_frame`, `blob_of` and `SimilarityMaps.of_pair`
            raise.

        """
        ehr_id = access.registration.ehr_id
        frames = self._query_frames(access, study, deadline)
        query = matched_frame(frames, self.results.by_id(ehr_id, pair.report_id), pair)
        case_png = self.case_picture_png(pair.case_id, pair.picture_id, ehr_id=ehr_id, who=who)
        return self.similarity_maps.of_pair(query, case_png, ehr_id=ehr_id)

    def _query_frames(
        self, access: FhirAccess, study: StudyRef, deadline: Deadline
    ) -> tuple[PixelFrame, ...]:
        context = self.peers.reader.read_context(
            access, prefetch=None, deadline=deadline, as_of=self.clock.now()
        )
        return self.analyst.frames_of(access, context, listed_study(context, study), deadline)

    def case_picture_png(self, case_id: str, picture_id: str, *, ehr_id: str, who: str) -> bytes:
        """Return a library picture; each view is audited.

        Raises
        ------
        CdsError
            What `blob_of` raises.

        """
        case = self.storage.catalogue.case_by_id(case_id)
        content = self.storage.blobs.get(blob_of(case, picture_id, ehr_id=ehr_id))
        self.audit.record(
            AuditEvent(ehr_id, "case.viewed", "success", who=who, entity=f"{case_id}/{picture_id}")
        )
        self.similarity_maps.get_ready(ehr_id, case.modality if case else None)
        return content

    def model_card(self) -> str | None:
        """Return the text of the image model's card, None if it came without one."""
        card = self.encoders.serving().folder / "README.md"
        return card.read_text("utf-8") if card.is_file() else None

    def source_attributes(self) -> SourceAttributeCard:
        """Return the card that the image model in force was opened with."""
        return self.embedder.source_attributes

    def model_change(self) -> str | None:
        """Return what is said about a change of the encoder in the last 30 days, or None."""
        serving = self.encoders.serving_hash()
        with suppress(CdsError):  # a page that tells of a failing database needs no second one
            return recent_change(self.storage.engine, serving, self.clock.now())
        return None

    def frames_from_file(
        self, content: bytes, *, view_position: str | None = None
    ) -> tuple[PixelFrame, ...]:
        """Read a DICOM, JPEG or PNG file; `view_position` fills in what the file does not say.

        Raises
        ------
        CdsError
            IMAGE_UNREADABLE or IMAGE_UNSUPPORTED.

        """
        frames = frames_from_file(content)
        if view_position is None:
            return frames
        return tuple(
            replace(frame, view_position=frame.view_position or view_position) for frame in frames
        )

    def passport(self) -> IndexPassport:
        """Return the passport of what is searched now; INDEX_UNAVAILABLE without a generation."""
        return self.library.view().passport

    def build_index(self) -> IndexPassport:
        """Build a generation and make it current; raises what `IndexUpkeep.build` raises."""
        return self.upkeep.build()

    def open_index(self) -> None:
        """Verify and map the index once, before workers are forked: they share it."""
        with suppress(CdsError):  # without an index the readiness check says so
            self.library.view()

    def prepare_worker(self) -> None:
        """Make a forked worker ready: own database connections, own decoder, everything warm.

        Noise is decoded, embedded and ranked once, so that the first call of a person does not pay
        for the first use of decoder, encoder and index. Nothing of it is kept. From now on a
        missing or damaged index is built anew from the database, by one worker, in the background.
        """
        limit_waits(self.storage.engine, DOOR_WAIT_MS)
        self.storage.engine.dispose()  # those of the parent were left to it at the fork
        self.encoders.repair_from_now_on()
        self.similarity_maps.get_ready_from_now_on()
        start_decoding_process()
        with suppress(CdsError):  # without an index the readiness check says so
            frames = self.frames_from_file(noise_png())
            query = CaseQuery("warm-up", "warm-up", self.clock.now(), None, None, frames)
            self.analyst.for_pictures(query)

    def ready(self) -> tuple[ReadinessCheck, ...]:
        """Return every check of readiness, cheapest first."""
        return (
            self._checked("database", self.storage.check_database, "The database answers."),
            self._checked("index", self.passport, "The index is open and answers its canaries."),
            ReadinessCheck("encoder", ok=True, sentence="The encoder matches its manifest."),
        )

    def fhir_token(self, registration: EhrRegistration, token: SecretText) -> TokenClaims:
        """Return what the EHR's authorization server says about a token (RFC 7662)."""
        return self.peers.introspect(registration, token, now=self.clock.now())

    def key_set(
        self, registration: EhrRegistration, url: str, *, deadline: Deadline
    ) -> Mapping[str, Any]:
        """Return the JSON Web Key Set at a registered address."""
        return self.peers.json_at(registration, url, deadline=deadline)

    def backend_key_set(self, ehr_id: str) -> Mapping[str, Any]:
        """Return our public keys at this EHR's token server, as a JSON Web Key Set."""
        return self.storage.backend_keys.key_set(ehr_id)

    def smart_configuration(self, registration: EhrRegistration) -> SmartConfiguration:
        """Return the EHR's SMART configuration."""
        return self.peers.smart_configuration(registration)

    def http(self, registration: EhrRegistration) -> EhrHttp:
        """Return HTTP to this EHR's registered origins."""
        return self.peers.http(registration)

    def _checked(self, name: str, call: Callable[[], object], sentence: str) -> ReadinessCheck:
        try:
            call()
        except CdsError as error:
            return ReadinessCheck(name, ok=False, sentence=error.sentence)
        return ReadinessCheck(name, ok=True, sentence=sentence)


def engine_from_settings(settings: Settings, *, clock: Clock | None = None) -> Engine:
    """Wire the engine.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if the installation was not initialised; MODEL_UNAVAILABLE if the
        encoder is missing or was changed. A missing index is not an error here: it can be built.

    """
    clock = clock or SystemClock()
    storage = open_storage(settings, clock)
    clients = EgressClients(development=settings.development, ca_file=settings.ca_file)
    peers = EhrPeers(clients, clock=clock)
    backend_tokens = BackendServiceTokens(clients, storage.backend_keys, clock)
    background = open_background(settings, storage, clients, clock=clock, tokens=backend_tokens)
    encoders = Encoders(
        registry_of(settings),
        generation_folder(settings),
        PartsOverPorts(
            settings, storage, clock, background.analysis_ports(peers.reader, peers.images)
        ),
    )
    encoders.serving()
    return Engine(
        settings=settings,
        clock=clock,
        storage=storage,
        encoders=encoders,
        peers=peers,
        hook_calls=SqlHookCalls(storage.engine, storage.cipher, clock),
        seen_tokens=SqlSeenTokens(storage.engine, clock),
        sessions=SqlSessionStore(storage.engine, storage.cipher, clock),
        backend_tokens=backend_tokens,
        background=background,
        similarity_maps=SimilarityMaps(encoders.with_generation, storage.catalogue, storage.blobs),
    )


def generation_folder(settings: Settings) -> Path:
    """Return the folder of the index generations."""
    return settings.state_dir / INDEX_FOLDER
