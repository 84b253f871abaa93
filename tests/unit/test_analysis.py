"""From an access right to an answer, with peers that behave and peers that do not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from cds.analysis import AnalysisDefaults, AnalysisPorts, Analyst
from cds.domain.case import LibraryCase
from cds.domain.coding import Coding
from cds.domain.dates import PartialDate
from cds.domain.embedding import ImageEmbedding
from cds.domain.errors import CdsError, Reason
from cds.domain.facts import Finding
from cds.domain.generation import IndexPassport
from cds.domain.launch import StudyHint
from cds.domain.patient import BusinessIdentifier, ClinicalContext, Demographics
from cds.domain.pixels import PictureIdentity, PixelFrame
from cds.domain.query import BlockWeights
from cds.domain.ranking import CompositionOfEligible, Hit, Ranking
from cds.domain.registration import EhrRegistration, Stage
from cds.domain.report import AnswerState, Priority
from cds.domain.secrecy import SecretText
from cds.domain.study import ReportState, StudyRef
from cds.pipeline import Tools
from cds.ports import FhirAccess
from models.patient_features import CataloguePatientFeatures

NOW = datetime(2026, 11, 12, 7, 5, tzinfo=UTC)
UID = "1.2.826.0.1.3680043.8.498.1"
REGISTRATION = EhrRegistration("site", "Site", "https://ehr.example.invalid/r4", "client")
ACCESS = FhirAccess(REGISTRATION, SecretText("token"), "p1")
STUDY = StudyRef(
    study_instance_uid=UID, modality="DX", body_part="CHEST", started_at=NOW - timedelta(hours=1)
)
DEMOGRAPHICS = Demographics(
    "p1", (BusinessIdentifier("MRN1", "urn:mrn"),), PartialDate(1959, 3, 14), "female"
)


def a_frame(patient: str = "MRN1") -> PixelFrame:
    pixels = np.random.default_rng(0).random((128, 128)).astype(np.float32)
    identity = PictureIdentity(patient, None, PartialDate(1959, 3, 14), "F", UID)
    return PixelFrame(
        pixels, "c" * 64, modality="DX", body_part="CHEST", view_position="PA", identity=identity
    )


class Peers:
    """Every outside system of an analysis, answering from plain attributes."""

    def __init__(self, studies: tuple[StudyRef, ...] = (STUDY,)) -> None:
        self.studies = studies
        self.demographics = DEMOGRAPHICS
        self.frames: tuple[PixelFrame, ...] | CdsError = (a_frame(),)
        self.best_similarity: float | None = 0.9
        self.kept: dict[str, Any] = {}
        self.events: list[Any] = []
        self.ranked = 0
        self.seen: list[Any] = []

    def now(self) -> datetime:
        return NOW

    def remaining_s(self) -> float:
        return 1.0

    def read_context(self, access, *, prefetch, deadline, as_of):
        return ClinicalContext(self.demographics, as_of, studies=self.studies)

    def retrieve_frames(self, access, study, *, patient_id_value, deadline):
        self.seen.append(patient_id_value)
        if isinstance(self.frames, CdsError):
            raise self.frames
        return self.frames

    encoder_name, encoder_hash, dimension = "toy", "e" * 64, 4

    def embed(self, frames):
        vector = np.array([1, 0, 0, 0], dtype=np.float32)
        return [ImageEmbedding(vector, self.encoder_hash) for _ in frames]

    def rank(self, query, eligibility, *, cutoff):
        self.ranked += 1
        self.seen.append(eligibility)
        finding = Finding(Coding("Pneumonia"), "clinical", is_diagnosis=True)
        hits = tuple(
            Hit(
                LibraryCase(f"c{i}", "x", f"p{i}", f"s{i}", known_at=NOW, findings=(finding,)),
                f"pic{i}",
                0.9,
                0.9,
                None,
            )
            for i in range(12)
        )
        eligible = CompositionOfEligible(100, {"pneumonia": 30}, {}, {}, 0, {})
        return Ranking(hits, eligible, self.best_similarity, 0.58, "gen", "toy library", 200)

    def patient_key(self, namespace, value):
        return f"key({namespace}|{value})"

    def study_key(self, uid):
        return f"study({uid})"

    def save(self, report, *, requested_by):
        self.kept[report.report_id] = report

    def by_input_hash(self, ehr_id, input_hash):
        return next((r for r in self.kept.values() if r.input_hash == input_hash), None)

    def record(self, event):
        self.events.append(event)


def an_analyst(peers: Any) -> Analyst:
    passport = IndexPassport(
        "gen", "toy library", "toy", "e", "record-1", 4, 4, 1, 1, 1, 0.58, 0.2, NOW.isoformat()
    )
    return Analyst(
        ports=AnalysisPorts(peers, peers, peers, peers, peers),
        tools=Tools(peers, CataloguePatientFeatures(), peers, peers),
        passport=lambda: passport,
        defaults=AnalysisDefaults("0.1", "lib", 31, BlockWeights(0.6)),
    )


def for_hook(peers: Any, access: FhirAccess = ACCESS):
    return an_analyst(peers).for_hook(access, prefetch=None, deadline=peers, as_of=NOW)


def test_hook_with_a_recent_film_is_compared_kept_and_bound_to_versions():
    peers = Peers()
    analysis = for_hook(peers)
    assert analysis.report is not None
    assert analysis.report.state is AnswerState.COMPARED
    assert analysis.report.n_neighbors == 12
    assert analysis.report.versions.index_generation == "gen"
    assert list(peers.kept) == [analysis.report.report_id]
    assert peers.seen[0] == "MRN1" or peers.seen[0] is None


def test_hook_excludes_the_querys_own_patient_and_study():
    peers = Peers()
    for_hook(peers)
    eligibility = peers.seen[1]
    assert "key(urn:mrn|MRN1)" in eligibility.excluded_patient_keys
    assert "key(|MRN1)" in eligibility.excluded_patient_keys
    assert eligibility.excluded_study_keys == {f"study({UID})"}
    assert eligibility.known_before == NOW


def test_hook_asked_twice_with_equal_inputs_compares_once():
    peers = Peers()
    first, second = for_hook(peers), for_hook(peers)
    assert first.report == second.report
    assert peers.ranked == 1


@pytest.mark.parametrize(
    ("study", "identifiers", "stage"),
    [
        pytest.param(STUDY, (BusinessIdentifier("MRN0", "urn:mrn"),), Stage.SILENT, id="merged"),
        pytest.param(STUDY, (), Stage.RESEARCH, id="other-stage"),
        pytest.param(
            replace(STUDY, started_at=NOW - timedelta(hours=2)),
            (),
            Stage.SILENT,
            id="other-time",
        ),
        pytest.param(
            replace(STUDY, imaging_study_id="s9"),
            (),
            Stage.SILENT,
            id="other-resource",
        ),
    ],
)
def test_hook_asked_again_about_anything_else_is_compared_anew(study, identifiers, stage):
    peers = Peers()
    for_hook(peers)
    peers.studies = (study,)
    peers.demographics = replace(
        DEMOGRAPHICS, identifiers=(*DEMOGRAPHICS.identifiers, *identifiers)
    )
    access = replace(ACCESS, registration=replace(REGISTRATION, stage=stage))
    report = for_hook(peers, access).report
    assert peers.ranked == 2
    assert report.study == study
    assert report.stage == stage.value


@pytest.mark.parametrize(
    "studies",
    [
        pytest.param((), id="no-study"),
        pytest.param((replace(STUDY, started_at=NOW - timedelta(hours=80)),), id="too-old"),
        pytest.param((replace(STUDY, report_state=ReportState.FINAL),), id="reported"),
        pytest.param((replace(STUDY, modality="US"),), id="not-supported"),
    ],
)
def test_hook_without_an_unreported_recent_film_fetches_no_picture(studies):
    peers = Peers(studies)
    analysis = for_hook(peers)
    assert (analysis.report, analysis.failure, peers.seen) == (None, None, [])


def test_hook_with_another_patients_picture_gives_no_result_and_an_audit_record():
    peers = Peers()
    peers.frames = (a_frame("SOMEONE-ELSE"),)
    analysis = for_hook(peers)
    assert analysis.failure is not None
    assert analysis.failure.reason is Reason.IDENTITY_MISMATCH
    assert analysis.report is not None
    assert analysis.report.state is AnswerState.NOT_ASSESSED
    assert analysis.report.neighbors == ()
    assert peers.ranked == 0
    assert [event.action for event in peers.events] == ["identity.mismatch"]
    assert "SOMEONE-ELSE" not in str(analysis.failure) + str(peers.events)


def test_hook_with_the_pacs_down_says_why_and_suggests_no_priority():
    peers = Peers()
    peers.frames = CdsError(Reason.UPSTREAM_FAILED, "The PACS answered 503.")
    report = for_hook(peers).report
    assert report is not None
    assert report.abstention == "The PACS answered 503."
    assert report.priority is Priority.NOT_ASSESSED
    assert report.priority_sentence == (
        "Not assessed: the PACS answered 503. Place in the list unchanged."
    )


def test_hook_past_the_deadline_is_pending_and_keeps_nothing():
    peers = Peers()
    peers.frames = CdsError(Reason.DEADLINE, "The deadline came first.")
    analysis = for_hook(peers)
    assert analysis.is_pending
    assert peers.kept == {}


def test_hook_for_a_child_is_not_assessed():
    peers = Peers()
    peers.demographics = replace(DEMOGRAPHICS, birth_on=PartialDate(2022, 5, 1))
    peers.frames = (replace(a_frame(), identity=PictureIdentity("MRN1", None, None, "F", UID)),)
    report = for_hook(peers).report
    assert report is not None
    assert report.not_assessed_reason == Reason.AGE_UNSUPPORTED.value


def test_hook_with_the_image_module_off_fetches_no_picture():
    peers = Peers()
    access = replace(ACCESS, registration=replace(REGISTRATION, image_module=False))
    assert for_hook(peers, access).report is None
    assert peers.seen == []


def test_nothing_comparable_has_its_sentence_and_no_neighbours():
    peers = Peers()
    peers.best_similarity = 0.41
    report = for_hook(peers).report
    assert report is not None
    assert report.state is AnswerState.NOTHING_COMPARABLE
    assert report.neighbors == ()
    assert report.findings == ()
    assert "best similarity 0.41, limit 0.58" in str(report.abstention)
    assert report.priority_sentence == (
        "Not assessed: no past case is similar enough. Place in the list unchanged."
    )


@pytest.mark.parametrize(
    ("studies", "hint", "expected"),
    [
        pytest.param((STUDY,), None, UID, id="only-one"),
        pytest.param((STUDY, replace(STUDY, study_instance_uid="1.9")), None, None, id="two"),
        pytest.param((STUDY,), StudyHint(study_instance_uid="1.9"), None, id="hint-not-listed"),
        pytest.param(
            (replace(STUDY, study_instance_uid="1.9"), STUDY),
            StudyHint(study_instance_uid=UID),
            UID,
            id="hinted",
        ),
    ],
)
def test_launch_never_takes_another_study_silently(studies, hint, expected):
    analysis = an_analyst(Peers(studies)).for_launch(
        ACCESS, study_hint=hint, weights=BlockWeights(1.0), deadline=Peers()
    )
    chosen = analysis.study.study_instance_uid if analysis.study else None
    assert chosen == expected
