from __future__ import annotations

import pytest

from cds.domain.instance_selection import (
    InstanceRecord,
    SeriesRecord,
    chosen_instances,
    chosen_series,
    wanted_instances,
)

CT = "1.2.840.10008.5.1.4.1.1.2"


def a_film(uid: str, view: str | None = None, **overrides: object) -> InstanceRecord:
    values: dict[str, object] = {"instance_number": int(uid), "view_position": view, **overrides}
    return InstanceRecord("s", uid, **values)  # type: ignore[arg-type]  # test values


def uids(instances: tuple[InstanceRecord, ...]) -> list[str]:
    return [instance.sop_instance_uid for instance in instances]


@pytest.mark.parametrize(
    ("films", "expected"),
    [
        pytest.param([a_film("1", "LL"), a_film("2", "PA")], ["2"], id="lateral-left-out"),
        pytest.param([a_film("1", "LL")], ["1"], id="lateral-alone"),
        pytest.param(
            [a_film("1"), a_film("2", "AP"), a_film("3", "PA"), a_film("4", "AP")],
            ["2", "3"],
            id="two-frontal-at-most",
        ),
        pytest.param([a_film("3"), a_film("1"), a_film("2")], ["1", "2"], id="views-unknown"),
        pytest.param([a_film("1"), a_film("2", "PA")], ["2"], id="known-frontal-is-enough"),
        pytest.param(
            [a_film("1", sop_class_uid="1.2.840.10008.5.1.4.1.1.7"), a_film("2")],
            ["2"],
            id="screenshot-left-out",
        ),
        pytest.param([], [], id="none"),
    ],
)
def test_films_are_frontal_and_two_at_most(
    films: list[InstanceRecord], expected: list[str]
) -> None:
    assert uids(chosen_instances(films, of_films=True)) == expected


def a_slice(i: int, **overrides: object) -> InstanceRecord:
    values: dict[str, object] = {
        "instance_number": i,
        "position": (0.0, 0.0, 2.0 * i),
        "orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        **overrides,
    }
    return InstanceRecord("s", str(i), CT, **values)  # type: ignore[arg-type]  # test values


def test_slices_are_key_slices_with_the_middle_one_first() -> None:
    chosen = chosen_instances([a_slice(i) for i in range(1, 102)], of_films=False)
    assert uids(chosen) == ["51", "21", "36", "66", "81"]
    assert [i.place and i.place.number for i in chosen] == [51, 21, 36, 66, 81]
    assert {i.place and i.place.n_slices for i in chosen} == {101}


def test_stack_with_most_frames_is_taken_alone() -> None:
    stacks = [a_slice(1, n_frames=20), a_slice(2, n_frames=200), a_slice(3)]
    assert uids(chosen_instances(stacks, of_films=False)) == ["2"]


@pytest.mark.parametrize(
    "image_type",
    [
        ("ORIGINAL", "PRIMARY", "LOCALIZER"),
        ("DERIVED", "SECONDARY", "REFORMATTED"),
        ("DERIVED", "PRIMARY", "MIP"),
    ],
    ids=["planning", "reformatted", "projection"],
)
def test_what_was_computed_from_slices_is_no_slice(image_type: tuple[str, ...]) -> None:
    assert chosen_instances([a_slice(1, image_type=image_type)], of_films=False) == ()


class Study:
    """Series with their instances, and which of them were asked for."""

    def __init__(self, **instances: list[InstanceRecord]) -> None:
        self.instances = instances
        self.asked: list[str] = []

    def wanted(self, *series: SeriesRecord, modality: str = "CT") -> list[str]:
        return uids(wanted_instances(series, modality, self.of))

    def of(self, series: SeriesRecord) -> list[InstanceRecord]:
        self.asked.append(series.series_instance_uid)
        return self.instances[series.series_instance_uid]


def test_next_series_is_looked_into_only_where_the_best_holds_no_slices() -> None:
    study = Study(mip=[a_slice(i, image_type=("DERIVED", "SECONDARY", "MIP")) for i in (1, 2)])
    study.instances |= {"thin": [a_slice(3)], "thick": [a_slice(4)]}
    series = [
        SeriesRecord("mip", "CT", None, 1, 900),
        SeriesRecord("thin", "CT", None, 2, 300),
        SeriesRecord("thick", "CT", None, 3, 60),
    ]
    assert study.wanted(*series) == ["3"]
    assert study.asked == ["mip", "thin"]


def test_measured_slices_come_before_derived_ones_which_are_better_than_nothing() -> None:
    derived = a_slice(1, image_type=("DERIVED", "PRIMARY", "AXIAL"))
    study = Study(a=[derived], b=[a_slice(2)])
    a, b = SeriesRecord("a", "MR", None, 1, 90), SeriesRecord("b", "MR", None, 2, 20)
    assert study.wanted(a, b, modality="MR") == ["2"]
    assert study.wanted(a, modality="MR") == ["1"]


def test_axial_series_comes_before_a_larger_one_of_another_plane() -> None:
    series = [SeriesRecord("s", "MR", "T1 sag 3D", 1, 176), SeriesRecord("a", "MR", "T2 ax", 2, 30)]
    assert [s.series_instance_uid for s in chosen_series(series, "MR")] == ["a", "s"]


def test_planning_view_is_no_slice() -> None:
    planning = InstanceRecord("s", "1", CT, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    assert chosen_instances([planning], of_films=False) == ()


def test_largest_diagnostic_series_is_taken() -> None:
    series = [
        SeriesRecord("scout", "CT", "Topogram", 1, 500),
        SeriesRecord("thin", "CT", "Lung 1 mm", 3, 300),
        SeriesRecord("thick", "CT", "Lung 5 mm", 2, 60),
        SeriesRecord("dose", "SR", "Dose report", 99, 1),
    ]
    assert [s.series_instance_uid for s in chosen_series(series, "CT")] == ["thin", "thick"]


def test_modality_of_the_record_decides_between_kinds() -> None:
    series = [SeriesRecord("ct", "CT", n_instances=9), SeriesRecord("film", "CR", n_instances=1)]
    assert [s.series_instance_uid for s in chosen_series(series, "DX")] == ["film"]
    assert [s.series_instance_uid for s in chosen_series(series, "CT")] == ["ct"]


def test_study_without_pictures_gives_no_series() -> None:
    assert chosen_series([SeriesRecord("1", "SR"), SeriesRecord("2", "PR")], "DX") == ()
