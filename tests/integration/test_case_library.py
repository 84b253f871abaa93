"""The ranking over a real generation on disk: filters, exclusions, damage, switches."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from cds.adapters.case_library import IndexedCaseLibrary
from cds.adapters.generations import CURRENT, VECTORS, GenerationFolder
from cds.domain.case import AgeGroup, CasePicture, LibraryCase, ViewGroup
from cds.domain.coding import Coding
from cds.domain.errors import CdsError, Reason
from cds.domain.facts import Finding, Measurement, PatientFacts
from cds.domain.insight import is_comparable
from cds.domain.query import BlockWeights, Eligibility, FusedQuery
from cds.library.index_building import EmbeddedCase, EncoderIdentity, build_generation
from models.out_of_distribution import fit_gate
from models.patient_features import CataloguePatientFeatures

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
FEATURES = CataloguePatientFeatures()
DIMENSION = 16
ENCODER = EncoderIdentity("toy", "e" * 64, DIMENSION)
GATED = replace(ENCODER, fit_gate=fit_gate)


def a_vector(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=DIMENSION)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def an_embedded_case(number: int, **changes) -> EmbeddedCase:
    values: dict[str, Any] = {
        "case_id": f"c{number:03d}",
        "collection": "site",
        "patient_key": f"p{number}",
        "study_key": f"s{number}",
        "modality": "DX",
        "body_part": "CHEST",
        "view_group": ViewGroup.PA,
        "age_years": 60,
        "sex": "male",
        "known_at": NOW - timedelta(days=100 + number),
        "findings": (Finding(Coding(f"d{number % 3}"), is_diagnosis=True),),
    }
    case = LibraryCase(**(values | changes))
    bits = int.from_bytes(sha256(str(number).encode()).digest(), "big")
    picture = CasePicture(f"pic{number}", "blob", 512, 512, case.view_group, bits)
    return EmbeddedCase(replace(case, pictures=(picture,)), ((picture, a_vector(number)),))


CASES = [an_embedded_case(i) for i in range(60)]
ELIGIBLE = Eligibility(known_before=NOW)


def built(folder, cases=CASES, encoder=ENCODER):
    build_generation(
        cases,
        features=FEATURES,
        encoder=encoder,
        library_name="toy library",
        built_at=NOW,
        writer=GenerationFolder(folder),
    )
    known = {e.case.case_id: e.case for e in cases}
    return IndexedCaseLibrary(
        GenerationFolder(folder),
        lambda ids: {i: known[i] for i in ids if i in known},
        encoder_hash=ENCODER.sha256,
        feature_version=FEATURES.version,
    )


def a_query(seed: int = 7) -> FusedQuery:
    return FusedQuery(BlockWeights(0.6), image=a_vector(seed))


def ids(ranking):
    return [hit.case.case_id for hit in ranking.hits]


def test_rank_of_a_library_picture_finds_it_first(tmp_path):
    ranking = built(tmp_path).rank(a_query(7), ELIGIBLE, cutoff=5)
    assert ids(ranking)[0] == "c007"
    assert ranking.hits[0].similarity == pytest.approx(1.0, abs=1e-5)
    assert ranking.eligible.n_patients == 60
    assert ranking.eligible.n_by_diagnosis == {"d0": 20, "d1": 20, "d2": 20}


@pytest.mark.parametrize(
    ("case_changes", "eligibility_changes"),
    [
        pytest.param({}, {"excluded_patient_keys": frozenset({"p7"})}, id="same-patient"),
        pytest.param({}, {"excluded_study_keys": frozenset({"s7"})}, id="same-study"),
        pytest.param({"known_at": NOW}, {}, id="known-later"),
        pytest.param({"owner_ehr_id": "other"}, {"ehr_id": "mine"}, id="other-tenant"),
        pytest.param({"modality": "CT"}, {"modalities": frozenset({"CR", "DX"})}, id="modality"),
        pytest.param({"body_part": "KNEE"}, {"body_part": "CHEST"}, id="body-part"),
        pytest.param({"view_group": ViewGroup.AP}, {"view_group": ViewGroup.PA}, id="view"),
        pytest.param({"age_years": 5}, {"age_group": AgeGroup.ADULT}, id="age-group"),
    ],
)
def test_rank_never_returns_an_ineligible_case(tmp_path, case_changes, eligibility_changes):
    cases = [an_embedded_case(i, **(case_changes if i == 7 else {})) for i in range(60)]
    ranking = built(tmp_path, cases).rank(
        a_query(7), replace(ELIGIBLE, **eligibility_changes), cutoff=60
    )
    assert "c007" not in ids(ranking)
    assert ranking.eligible.n_patients == 59


def test_rank_excludes_and_names_a_near_duplicate(tmp_path):
    bits = CASES[7].case.pictures[0].perceptual_hash
    ranking = built(tmp_path).rank(
        a_query(7), replace(ELIGIBLE, perceptual_hashes=(bits ^ 0b101,)), cutoff=60
    )
    assert ranking.already_in_library
    assert "c007" not in ids(ranking)


def test_rank_keeps_one_case_per_patient(tmp_path):
    cases = [an_embedded_case(i, patient_key=f"p{i // 2}") for i in range(60)]
    ranking = built(tmp_path, cases).rank(a_query(7), ELIGIBLE, cutoff=60)
    keys = [hit.case.patient_key for hit in ranking.hits]
    assert len(keys) == len(set(keys)) == 30
    assert ranking.eligible.n_patients == 30


def test_rank_of_several_slices_takes_the_most_similar_pair_of_each_case(tmp_path):
    library = built(tmp_path)
    query = FusedQuery(
        BlockWeights(0.6), image=a_vector(7), more_images=(a_vector(11), a_vector(3))
    )
    ranking = library.rank(query, ELIGIBLE, cutoff=60)
    pairs = np.stack([a_vector(i) for i in range(60)]) @ np.stack(query.images()).T
    best = pairs.max(axis=1)
    assert set(ids(ranking)[:3]) == {"c007", "c011", "c003"}
    found = {hit.case.case_id: hit.image_similarity for hit in ranking.hits}
    assert [found[f"c{i:03d}"] for i in range(60)] == pytest.approx(best.tolist(), abs=1e-6)
    by_slice = {hit.case.case_id: hit.query_index for hit in ranking.hits}
    assert [by_slice[f"c{i:03d}"] for i in range(60)] == pairs.argmax(axis=1).tolist()


def test_rank_of_several_slices_holds_the_key_slice_alone_against_the_limit(tmp_path):
    library = built(tmp_path)
    without_11 = replace(ELIGIBLE, excluded_patient_keys=frozenset({"p11"}))
    alone = library.rank(a_query(11), without_11, cutoff=5)
    several = replace(a_query(11), more_images=(a_vector(7),))
    ranking = library.rank(several, without_11, cutoff=5)
    assert ranking.best_similarity == alone.best_similarity < 0.999
    assert ids(ranking)[0] == "c007"


def test_rank_of_several_slices_beyond_the_exact_partition_searches_for_each(tmp_path, monkeypatch):
    monkeypatch.setattr("cds.adapters.case_library.EXACT_PARTITION", 10)
    library = built(tmp_path)
    query = FusedQuery(BlockWeights(0.6), image=a_vector(7), more_images=(a_vector(31),))
    for eligibility in (ELIGIBLE, replace(ELIGIBLE, excluded_patient_keys=frozenset({"p1"}))):
        ranking = library.rank(query, eligibility, cutoff=2)
        assert set(ids(ranking)) == {"c007", "c031"}


def test_rank_renormalises_over_the_blocks_that_both_sides_have(tmp_path):
    fever = (Measurement("8310-5", 39.5, "Cel"),)
    bare = {"age_years": None, "sex": "unknown"}
    cases = [an_embedded_case(0, measurements=fever), an_embedded_case(1, **bare)]
    facts = PatientFacts(60, "male", fever)
    query = FusedQuery(
        BlockWeights(0.5),
        image=a_vector(1),
        record=FEATURES.vector(facts),
        presence=FEATURES.presence(facts),
    )
    ranking = built(tmp_path, cases).rank(query, ELIGIBLE, cutoff=2)
    by_id = {hit.case.case_id: hit for hit in ranking.hits}
    assert by_id["c001"].similarity == pytest.approx(1.0, abs=1e-5)
    assert by_id["c001"].record_similarity is None
    both = by_id["c000"]
    shared = float(FEATURES.presence(facts) @ FEATURES.presence(facts))
    assert both.record_similarity == pytest.approx(1.0, abs=1e-5)  # equal in all they share
    assert both.record_share == pytest.approx(shared, abs=1e-5)
    expected = (0.5 * both.image_similarity + 0.5 * shared) / (0.5 + 0.5 * shared)
    assert both.similarity == pytest.approx(expected, abs=1e-5)


def test_rank_with_another_encoder_is_refused(tmp_path):
    built(tmp_path)
    library = IndexedCaseLibrary(
        GenerationFolder(tmp_path), lambda _: {}, encoder_hash="f" * 64, feature_version="record-1"
    )
    with pytest.raises(CdsError) as refusal:
        library.rank(a_query(), ELIGIBLE, cutoff=5)
    assert refusal.value.reason is Reason.INDEX_UNAVAILABLE


def test_open_of_a_flipped_byte_is_refused(tmp_path):
    built(tmp_path)
    file = tmp_path / GenerationFolder(tmp_path).current_id() / VECTORS
    content = bytearray(file.read_bytes())
    content[-3] ^= 0x40
    file.chmod(0o600)
    file.write_bytes(bytes(content))
    with pytest.raises(CdsError, match="damaged"):
        GenerationFolder(tmp_path).open_current()


def test_rank_after_a_switch_uses_the_new_generation(tmp_path):
    library = built(tmp_path)
    first = library.rank(a_query(), ELIGIBLE, cutoff=5).generation_id
    built(tmp_path, CASES[:30])
    second = library.rank(a_query(), ELIGIBLE, cutoff=60)
    assert second.generation_id != first
    assert second.eligible.n_patients == 30


def test_build_of_the_same_library_gives_the_same_generation(tmp_path):
    first = built(tmp_path / "a").current().passport
    second = built(tmp_path / "b", list(reversed(CASES))).current().passport
    assert first == second


def test_limit_refuses_about_one_in_twenty_of_the_librarys_own_cases(tmp_path):
    cases = [an_embedded_case(i) for i in range(400)]
    passport = built(tmp_path, cases).current().passport
    images = np.stack([v for e in cases for _, v in e.vectors])
    products = images @ images.T - 2 * np.eye(400, dtype=np.float32)
    assert np.mean(products.max(axis=1) < passport.image_limit) == pytest.approx(0.05, abs=0.005)


def near(direction: int, number: int, *, scatter: float) -> np.ndarray:
    """A unit vector around an axis of the space."""
    vector = np.eye(DIMENSION)[direction] + scatter * a_vector(number)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def placed(number: int, vector: np.ndarray, **changes) -> EmbeddedCase:
    embedded = an_embedded_case(number, **changes)
    return EmbeddedCase(embedded.case, ((embedded.case.pictures[0], vector),))


FILMS = Eligibility(known_before=NOW, modalities=frozenset({"DX"}), view_group=ViewGroup.PA)


def test_strange_picture_stays_refused_after_an_import_of_scattered_ones(tmp_path):
    """One limit for the whole library fell from .85 to .50 by such an import."""
    alike = [placed(i, near(0, i, scatter=0.3)) for i in range(80)]
    scattered = [
        placed(1000 + i, near(1, 1000 + i, scatter=1.5), collection="elsewhere") for i in range(80)
    ]
    strange = FusedQuery(BlockWeights(0.6), image=near(0, 5005, scatter=1.5))
    own = FusedQuery(BlockWeights(0.6), image=near(0, 5000, scatter=0.3))
    for name, cases in (("before", alike), ("after", alike + scattered)):
        library = built(tmp_path / name, cases)
        refused = library.rank(strange, FILMS, cutoff=5)
        assert refused.best_similarity < refused.similarity_limit, name
        compared = library.rank(own, FILMS, cutoff=5)
        assert compared.best_similarity >= compared.similarity_limit > 0.8, name


def test_limit_and_similarity_are_those_of_one_collection(tmp_path):
    """A loose collection's limit does not let the near miss of a tight one pass."""
    alike = [placed(i, near(0, i, scatter=0.3)) for i in range(80)]
    scattered = [placed(1000 + i, a_vector(1000 + i), collection="elsewhere") for i in range(80)]
    library = built(tmp_path, alike + scattered)
    limits = {one.group.collection: one.limit for one in library.current().passport.group_limits}
    ranking = library.rank(FusedQuery(BlockWeights(0.6), image=a_vector(1003)), FILMS, cutoff=5)
    assert ranking.similarity_limit == limits["elsewhere"] < limits["site"]
    assert ranking.best_similarity == pytest.approx(1.0, abs=1e-5)


def test_gate_of_a_generation_is_kept_and_refuses_what_is_unlike(tmp_path):
    cases = [placed(i, near(0, i, scatter=0.3)) for i in range(80)]
    built(tmp_path, cases, GATED)
    passport = GenerationFolder(tmp_path).open_current().passport
    assert [one.n_patients for one in passport.gate_classes] == [80]
    library = built(tmp_path, cases, GATED)
    strange = FusedQuery(BlockWeights(0.6), image=near(0, 5005, scatter=1.5))
    own = FusedQuery(BlockWeights(0.6), image=near(0, 5000, scatter=0.3))
    assert library.rank(strange, FILMS, cutoff=5).picture.is_beyond
    assert not library.rank(own, FILMS, cutoff=5).picture.is_beyond


def test_gate_and_limit_together_refuse_at_most_one_in_twenty(tmp_path):
    cases = [placed(i, near(0, i, scatter=0.5)) for i in range(400)]
    library = built(tmp_path, cases, GATED)
    refused = 0
    for number in range(400):
        query = FusedQuery(BlockWeights(0.6), image=cases[number].vectors[0][1])
        asked = replace(FILMS, excluded_patient_keys=frozenset({f"p{number}"}))
        ranking = library.rank(query, asked, cutoff=1)
        refused += not is_comparable(ranking)
    assert 0 < refused <= 20


def test_query_whose_group_has_no_case_is_not_comparable(tmp_path):
    asked = replace(FILMS, view_group=ViewGroup.LATERAL)
    ranking = built(tmp_path).rank(a_query(7), asked, cutoff=5)
    assert ranking.best_similarity is None
    assert ranking.hits == ()


def test_files_of_a_generation_are_for_the_owner_only(tmp_path):
    built(tmp_path)
    folder = tmp_path / (tmp_path / CURRENT).read_text()
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir()} == {0}


def test_rank_without_a_generation_says_what_to_do(tmp_path):
    library = IndexedCaseLibrary(
        GenerationFolder(tmp_path), lambda _: {}, encoder_hash="e", feature_version="record-1"
    )
    with pytest.raises(CdsError, match="precedent library import"):
        library.rank(a_query(), ELIGIBLE, cutoff=5)
