"""One similarity limit per group of pictures, which an import into another group does not move."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from cds.domain.case import AgeGroup, CasePicture, LibraryCase, ViewGroup
from cds.domain.generation import GenerationTable
from cds.domain.query import Eligibility
from cds.domain.similarity_limits import MIN_PATIENTS, PictureGroup, SimilarityLimits
from cds.library.index_building import EmbeddedCase, generation_table
from cds.library.limit_estimation import image_limits
from models.patient_features import CataloguePatientFeatures

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
DIMENSION = 32
TIGHT, LOOSE = 0.3, 3.0  # scatter around a common direction
ASKED = Eligibility(
    NOW,
    modalities=frozenset({"CR", "DX"}),
    body_part="CHEST",
    view_group=ViewGroup.PA,
    age_group=AgeGroup.ADULT,
)


def cases(
    n: int, *, scatter: float, collection: str = "site", **changes: Any
) -> list[EmbeddedCase]:
    """`n` patients whose pictures scatter around one direction."""
    rng = np.random.default_rng(7)
    middle = np.eye(DIMENSION)[0]
    made = []
    for number in range(n):
        vector = middle + scatter * rng.normal(size=DIMENSION) / np.sqrt(DIMENSION)
        name = f"{collection}-{number}-{'-'.join(map(str, changes.values()))}"
        values: dict[str, Any] = {
            "case_id": name,
            "collection": collection,
            "patient_key": f"patient {name}",
            "study_key": f"study {name}",
            "modality": "DX",
            "body_part": "CHEST",
            "view_group": ViewGroup.PA,
            "age_years": 60,
            "known_at": NOW,
        }
        case = LibraryCase(**(values | changes))
        picture = CasePicture(name, "blob", 512, 512, case.view_group, number)
        unit = (vector / np.linalg.norm(vector)).astype(np.float32)
        made.append(EmbeddedCase(replace(case, pictures=(picture,)), ((picture, unit),)))
    return made


def table_of(made: list[EmbeddedCase]) -> GenerationTable:
    return generation_table(made, features=CataloguePatientFeatures(), dimension=DIMENSION)


def limits_of(made: list[EmbeddedCase]) -> SimilarityLimits:
    return image_limits(table_of(made), image_dimension=DIMENSION)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"collection": "elsewhere"}, id="another-collection"),
        pytest.param({"view_group": ViewGroup.AP}, id="another-view"),
        pytest.param({"modality": "MR"}, id="another-modality"),
        pytest.param({"body_part": "HAND"}, id="another-body-part"),
        pytest.param({"age_years": 5}, id="another-age-group"),
        pytest.param({"view_group": ViewGroup.OTHER}, id="view-not-recorded"),
    ],
)
def test_import_of_scattered_pictures_does_not_move_another_groups_limit(changes):
    own = cases(80, scatter=TIGHT)
    before = limits_of(own).toward("site", ASKED)
    mixed = limits_of(own + cases(200, scatter=LOOSE, **changes))
    assert mixed.toward("site", ASKED) == before > 0.8
    assert min(held.limit for held in mixed.groups) < 0.5  # the planted group has one of its own


def test_limit_of_one_group_refuses_one_in_twenty_of_its_cases():
    made = cases(200, scatter=LOOSE)
    vectors = table_of(made).vectors[:, :DIMENSION]
    best = (vectors @ vectors.T - 2 * np.eye(200, dtype=np.float32)).max(axis=1)
    assert np.mean(best < limits_of(made).toward("site", ASKED)) == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize(
    "unsaid",
    [
        pytest.param({"view_group": None}, id="view"),
        pytest.param({"body_part": None}, id="body-part"),
        pytest.param({"modalities": frozenset()}, id="modality"),
        pytest.param({"age_group": AgeGroup.UNKNOWN}, id="age"),
    ],
)
def test_query_that_leaves_something_unsaid_is_held_to_the_strictest_group(unsaid):
    loose: dict[str, Any] = {
        "view_group": ViewGroup.AP,
        "body_part": "HAND",
        "modality": "MR",
        "age_years": 5,
    }
    made = cases(80, scatter=TIGHT) + cases(80, scatter=LOOSE, **loose)
    limits = limits_of(made)
    assert limits.toward("site", replace(ASKED, **unsaid)) == limits.toward("site", ASKED) > 0.8


def test_small_group_takes_the_limit_of_all_collections_together():
    few = cases(MIN_PATIENTS - 1, scatter=LOOSE, collection="few")
    made = cases(80, scatter=TIGHT) + few
    limits = limits_of(made)
    around = PictureGroup("radiograph", "CHEST", "PA", "adult")
    held = {one.group.collection: one for one in limits.groups}
    assert held["few"].estimated_on == around
    assert held["few"].n_patients == MIN_PATIENTS - 1
    assert held["site"].estimated_on == held["site"].group
    own = limits_of(few).strictest
    assert own < held["few"].limit < held["site"].limit


def test_small_group_of_another_view_takes_the_limit_of_its_modality():
    few = cases(10, scatter=LOOSE, view_group=ViewGroup.LATERAL)
    limits = limits_of(cases(80, scatter=TIGHT) + few)
    (lateral,) = [one for one in limits.groups if one.group.view == "lateral"]
    assert lateral.estimated_on == PictureGroup("radiograph")


def test_small_kind_takes_the_strictest_limit_of_the_library():
    limits = limits_of(cases(80, scatter=TIGHT) + cases(10, scatter=LOOSE, modality="CT"))
    (slices,) = [one for one in limits.groups if one.group.kind == "CT"]
    assert slices.estimated_on is None
    assert slices.limit == limits.strictest == max(one.limit for one in limits.groups) > 0.8


def test_library_that_is_small_throughout_is_held_to_its_strictest_kind():
    limits = limits_of(cases(20, scatter=TIGHT) + cases(20, scatter=LOOSE, modality="CT"))
    assert {one.limit for one in limits.groups} == {limits.strictest}
    assert limits.strictest == limits_of(cases(20, scatter=TIGHT)).strictest


def test_single_patient_compares_with_nothing_but_a_copy():
    assert limits_of(cases(1, scatter=TIGHT)).strictest == 1.0


def test_collection_that_came_after_the_limits_is_held_to_the_strictest_of_its_kind():
    made = cases(80, scatter=TIGHT) + cases(80, scatter=LOOSE, collection="elsewhere")
    limits = limits_of(made)
    assert limits.toward("new", ASKED) == limits.toward("site", ASKED)
    assert limits.toward("elsewhere", ASKED) < limits.toward("site", ASKED)


def test_equal_libraries_have_equal_limits():
    made = cases(700, scatter=LOOSE)
    assert limits_of(made) == limits_of(list(reversed(made)))
