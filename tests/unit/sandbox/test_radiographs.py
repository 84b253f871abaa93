"""The pictures: the same from the same seed, marked alike, with each sign where the record says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from sandbox.generator.anatomy import Habitus, Posture, draw_habitus, soft_parts
from sandbox.generator.exposure import line_text, marker_box
from sandbox.generator.library import write_library
from sandbox.generator.places import SignSpec
from sandbox.generator.projection import Plane, ellipse_inside, length_of_union
from sandbox.generator.thorax import FilmPlan, Radiograph, draw_plan, render

SIGNS = {
    "consolidation": SignSpec("consolidation", "right", "lower", 0.6),
    "cavity": SignSpec("cavity", "left", "upper", 0.6),
    "mass": SignSpec("mass", "right", "upper", 0.6),
    "small_nodule": SignSpec("small_nodule", "left", "middle", 0.8),
    "bilateral_hila": SignSpec("bilateral_hila", "both", "hilum", 0.6),
    "perihilar_haze": SignSpec("perihilar_haze", "both", "hilum", 0.6),
    "diffuse_opacity": SignSpec("diffuse_opacity", "both", "", 0.7),
    "peripheral_ground_glass": SignSpec("peripheral_ground_glass", "both", "lower", 0.7),
    "pneumothorax": SignSpec("pneumothorax", "left", "", 0.4),
    "effusion": SignSpec("effusion", "right", "lower", 0.5),
    "free_air": SignSpec("free_air", "right", "", 0.7),
}


def _habitus(**changes: object) -> Habitus:
    plain = {"sex": "male", "age_years": 50, "width": 1.0, "height": 1.0, "depth": 1.0, "wall": 1.0}
    plain |= {"breast": 0.0, "heart": 1.0, "anatomy_seed": 5}
    return Habitus(**(plain | changes))  # type: ignore[arg-type]  # one dict of mixed fields


def _film(
    *signs: SignSpec, view: str = "PA", devices: tuple[str, ...] = (), seed: int = 11
) -> Radiograph:
    plan = draw_plan(
        np.random.default_rng(seed), _habitus(), view=view, signs=signs, devices=devices
    )
    return render(plan, np.random.default_rng(seed + 1))


def _lungs(plan: FilmPlan) -> npt.NDArray[np.bool_]:
    plane = Plane(
        512, 512, plan.field_mm / 512, plan.tilt_deg, (plan.shift_mm[0], -8.0 + plan.shift_mm[1])
    )
    return np.asarray(soft_parts(*plane.grid(), plan.habitus, plan.posture).lung > 5.0)


@pytest.fixture(scope="module")
def clear() -> Radiograph:
    return _film()


def test_film_when_seed_is_the_same_repeats_every_pixel(clear: Radiograph) -> None:
    assert np.array_equal(clear.stored_pixels, _film().stored_pixels)
    assert not np.array_equal(clear.stored_pixels, _film(seed=12).stored_pixels)


def test_film_when_made_is_512_square_in_12_bits(clear: Radiograph) -> None:
    assert clear.stored_pixels.shape == (512, 512)
    assert clear.stored_pixels.dtype == np.uint16
    assert 2500 < int(clear.stored_pixels.max()) < 4096


def test_marker_when_films_differ_is_identical_and_outside_the_lungs(clear: Radiograph) -> None:
    box = marker_box()
    other = _film(SIGNS["diffuse_opacity"], view="AP", devices=("ecg_leads",), seed=40)
    assert np.array_equal(clear.stored_pixels[box], other.stored_pixels[box])
    patch = clear.stored_pixels[box]
    assert np.array_equal(patch[2:-2, 2:-2] > 1000, line_text("SYNTHETIC", 2))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        habitus = draw_habitus(rng, sex="female" if seed % 2 else "male", age_years=60)
        plan = draw_plan(rng, habitus, view="AP" if seed % 3 else "PA")
        assert not _lungs(plan)[box].any()


def test_lungs_when_compared_with_mediastinum_and_open_field_are_darker_and_brighter(
    clear: Radiograph,
) -> None:
    plan = draw_plan(np.random.default_rng(11), _habitus(), view="PA")
    lungs = _lungs(plan)
    lung_level = float(np.median(clear.stored_pixels[lungs]))
    assert lung_level < float(np.median(clear.stored_pixels[300:420, 250:270])) - 800
    assert lung_level > float(np.median(clear.stored_pixels[400:470, :6]))


@pytest.mark.parametrize("name", SIGNS)
def test_sign_when_drawn_changes_the_film_inside_its_box_most(name: str, clear: Radiograph) -> None:
    sign = SIGNS[name]
    film = _film(sign)
    assert [record.sign for record in film.signs] == [name]
    first_column, first_row, last_column, last_row = film.signs[0].box_px
    assert 0 <= first_column < last_column < 512
    assert 0 <= first_row < last_row < 512
    change = np.abs(film.stored_pixels.astype(float) - clear.stored_pixels.astype(float))
    inside = change[first_row : last_row + 1, first_column : last_column + 1]
    outside = np.ones(change.shape, dtype=bool)
    outside[first_row : last_row + 1, first_column : last_column + 1] = False
    assert inside.mean() > 1.3 * change[outside].mean()


@pytest.mark.parametrize("name", ["consolidation", "mass", "small_nodule", "cavity"])
def test_sign_box_when_focal_lies_on_its_side_and_in_the_lung(name: str) -> None:
    sign = SIGNS[name]
    film = _film(sign)
    first_column, first_row, last_column, last_row = film.signs[0].box_px
    lungs = _lungs(draw_plan(np.random.default_rng(11), _habitus(), view="PA", signs=(sign,)))
    middle = (first_column + last_column) / 2
    assert (
        middle < 256 if sign.side == "right" else middle > 256
    )  # the patient's right is the picture's left
    assert lungs[first_row : last_row + 1, first_column : last_column + 1].mean() > 0.5


def test_opacity_when_drawn_brightens_and_air_darkens(clear: Radiograph) -> None:
    for name in ("consolidation", "effusion"):
        film = _film(SIGNS[name])
        a, b, c, d = film.signs[0].box_px
        change = (
            film.stored_pixels[b : d + 1, a : c + 1].astype(float)
            - clear.stored_pixels[b : d + 1, a : c + 1]
        )
        assert np.median(change) > 100, name
    film = _film(SIGNS["pneumothorax"])
    outer = (slice(180, 300), slice(film.signs[0].box_px[2] - 34, film.signs[0].box_px[2] - 14))
    assert film.stored_pixels[outer].mean() < clear.stored_pixels[outer].mean() - 60


def test_heart_when_ap_is_wider_than_pa() -> None:
    plane = Plane(512, 512, 352 / 512)
    widths = []
    for view in ("PA", "AP"):
        parts = soft_parts(*plane.grid(), _habitus(), Posture(view=view))
        row = parts.lung[300]  # through the ventricles
        widths.append(int((row[120:400] < 20.0).sum()))
    assert widths[1] > widths[0] + 10


def test_diaphragm_when_ap_stands_higher() -> None:
    plane = Plane(512, 512, 352 / 512)
    pa, ap = (
        soft_parts(*plane.grid(), _habitus(), Posture(view=v)).dome_y.min() for v in ("PA", "AP")
    )
    assert ap < pa - 8


def test_tension_when_drawn_pushes_the_mediastinum_away() -> None:
    film = _film(SignSpec("tension_pneumothorax", "left", "", 0.92))
    plain = _film()
    right_half = (slice(150, 330), slice(120, 215))
    assert film.stored_pixels[right_half].mean() > plain.stored_pixels[right_half].mean() + 100


def test_devices_when_drawn_are_brighter_than_their_surroundings() -> None:
    plain, tubed = (
        _film(view="AP"),
        _film(view="AP", devices=("tracheal_tube", "central_line", "gastric_tube")),
    )
    rise = tubed.stored_pixels.astype(int) - plain.stored_pixels
    assert (rise[:300, 200:300] > 150).sum() > 150


def test_union_when_intervals_overlap_counts_no_depth_twice() -> None:
    def at(low: float, high: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        return np.array([low], dtype=np.float32), np.array([high], dtype=np.float32)

    assert length_of_union(at(0, 4), at(3, 6), at(5, 9))[0] == pytest.approx(9)
    assert length_of_union(at(0, 1), at(2, 3), at(9, 8))[0] == pytest.approx(2)


def test_tube_when_laid_down_keeps_its_volume() -> None:
    plane = Plane(64, 64, 0.5, 5.0)
    laid = plane.lay(np.array([0.0, 3.2]), np.array([1.0, -4.1]), np.array([2.0, 5.0]))
    assert float(laid.sum()) * 0.5**2 == pytest.approx(7.0, rel=1e-5)


def test_ellipse_when_worked_out_locally_agrees_inside() -> None:
    x, y = Plane(128, 128, 1.0, 2.0, (4.0, -3.0)).grid()
    local = ellipse_inside(x, y, (20.0, -15.0), (12.0, 18.0), 30.0)
    cos, sin = np.cos(np.deg2rad(30)), np.sin(np.deg2rad(30))
    u = ((x - 20) * cos + (y + 15) * sin) / 12
    v = ((y + 15) * cos - (x - 20) * sin) / 18
    assert np.allclose(local, np.maximum(1 - u**2 - v**2, -1), atol=1e-4)


def test_library_when_written_small_has_pictures_truth_and_equal_markers(tmp_path: Path) -> None:
    summary = write_library(tmp_path, seed=5, n=13, processes=1)
    pictures = sorted((tmp_path / "images").glob("*.png"))
    assert len(pictures) == summary.n_cases >= 13  # at least one of each condition
    arrays = [np.asarray(Image.open(path)) for path in pictures]
    assert {a.shape for a in arrays} == {(512, 512)}
    assert {a.dtype for a in arrays} == {np.dtype(np.uint8)}
    assert len({a[marker_box()].tobytes() for a in arrays}) == 1
    assert (tmp_path / "truth.json").exists()
