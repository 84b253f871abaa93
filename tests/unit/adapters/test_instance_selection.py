from __future__ import annotations

import pytest

from cds.adapters.instance_selection import (
    InstanceRecord,
    SeriesRecord,
    chosen_instances,
    chosen_series,
    position_along_normal,
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


def test_middle_slice_goes_by_position_not_by_instance_number() -> None:
    slices = [
        InstanceRecord("s", str(i), CT, instance_number=100 - i, position_mm=float((i * 7) % 11))
        for i in range(11)
    ]
    (middle,) = chosen_instances(slices, of_films=False)
    assert middle.position_mm == 5.0


def test_middle_slice_goes_by_instance_number_where_a_position_is_missing() -> None:
    slices = [InstanceRecord("s", str(i), CT, instance_number=i) for i in (5, 1, 3, 2, 4)]
    assert uids(chosen_instances(slices, of_films=False)) == ["3"]


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
    assert [s.series_instance_uid for s in chosen_series(series, "CT")] == ["thin"]


def test_modality_of_the_record_decides_between_kinds() -> None:
    series = [SeriesRecord("ct", "CT", n_instances=9), SeriesRecord("film", "CR", n_instances=1)]
    assert [s.series_instance_uid for s in chosen_series(series, "DX")] == ["film"]
    assert [s.series_instance_uid for s in chosen_series(series, "CT")] == ["ct"]


def test_study_without_pictures_gives_no_series() -> None:
    assert chosen_series([SeriesRecord("1", "SR"), SeriesRecord("2", "PR")], "DX") == ()


@pytest.mark.parametrize(
    ("position", "orientation"),
    [(None, (1, 0, 0, 0, 1, 0)), ((0, 0), (1, 0, 0, 0, 1, 0)), ((0, 0, 1), None)],
    ids=["no-position", "two-numbers", "no-orientation"],
)
def test_position_that_is_not_complete_is_none(
    position: tuple[float, ...] | None, orientation: tuple[float, ...] | None
) -> None:
    assert position_along_normal(position, orientation) is None
