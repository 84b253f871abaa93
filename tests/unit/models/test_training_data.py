"""Cleaning, label spaces, stated splits, recipes and the run record: what needs no torch."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.preprocessing import Preprocessing
from models.training.cleaning import TOO_SMALL, UNREADABLE, clean_pictures
from models.training.labels import (
    LabelSpace,
    class_of,
    label_spaces,
    measured_classes,
    rarity_weights,
)
from models.training.recipe import Recipe, RecipeError, changes_from_toml
from models.training.rows import Row
from models.training.run_record import RunRecord, described_pictures
from models.training.splits import LeakError, refuse_leak, stated_split
from tests.unit.models.radiographs import a_radiograph

SMALL = Preprocessing(size_px=64)


def a_row(name: str, *labels: str, side: str | None = None, source: str = "site") -> Row:
    return Row(source, Path(name), f"patient of {name}", frozenset(labels), "CC0", side=side)


def noise(seed: int) -> NDArray[np.float32]:
    cells = np.random.default_rng(seed).random((8, 8), dtype=np.float32)
    return cells.repeat(10, axis=0).repeat(10, axis=1)


def no_progress(_n_done: int, _total: int) -> None:
    return


def test_cleaning_when_pictures_cannot_be_used_lists_each_with_its_reason() -> None:
    same = noise(1)
    pictures = {
        "a": noise(0),
        "b": same,
        "c": same.copy(),
        "d": same.copy(),
        "e": np.full((90, 90), 0.3, np.float32),
        "f": noise(2)[:70, :60],
    }
    rows = [a_row(name, "other" if name == "d" else "label") for name in (*pictures, "g")]

    def read(row: Row) -> NDArray[np.float32]:
        if row.path.name == "g":
            raise OSError
        return pictures[row.path.name]

    clean = clean_pictures(rows, SMALL, read, no_progress)

    assert [row.path.name for row in clean.rows] == ["a", "b"]
    assert clean.squares.shape == (2, 64, 64)
    assert {one.name: one.reason for one in clean.left_out} == {
        "site/c": "same pixels as site/b",
        "site/d": "same pixels as site/b, which has other labels",
        "site/e": "The picture is blank: it has next to no contrast.",
        "site/f": TOO_SMALL,
        "site/g": UNREADABLE,
    }


def test_cleaning_when_a_copy_is_resampled_keeps_both_and_names_the_pair() -> None:
    pictures = {"a": noise(0), "b": noise(1), "c": noise(0).repeat(2, axis=0).repeat(2, axis=1)}

    clean = clean_pictures(
        [a_row(name) for name in pictures], SMALL, lambda row: pictures[row.path.name], no_progress
    )

    assert len(clean.rows) == 3
    assert clean.near_duplicates == [(0, 2)]


def test_same_pixels_when_on_two_stated_sides_are_left_for_the_leak_check() -> None:
    rows = [a_row("a", side="train"), a_row("b", side="test"), a_row("c", side="validation")]
    pictures = {"a": noise(0), "b": noise(0), "c": noise(5)}

    clean = clean_pictures(rows, SMALL, lambda row: pictures[row.path.name], no_progress)
    split = stated_split(clean.rows)

    assert split is not None
    with pytest.raises(LeakError, match="site/a and site/b"):
        refuse_leak(clean.rows, (split.train, split.validation, split.test), clean.near_duplicates)


def test_content_hash_when_a_label_changes_is_another() -> None:
    def content_hash(label: str) -> str:
        rows = [a_row("a", label)]
        return clean_pictures(rows, SMALL, lambda _row: a_radiograph(1), no_progress).content_hash

    assert content_hash("x") == content_hash("x")
    assert content_hash("x") != content_hash("y")


def test_stated_split_when_some_rows_are_silent_is_refused() -> None:
    assert stated_split([a_row("a"), a_row("b")]) is None
    with pytest.raises(ValueError, match="site/b states no side"):
        stated_split([a_row("a", side="train"), a_row("b")])


@pytest.mark.parametrize(
    ("labels", "is_exclusive"),
    [
        ([("a",)] * 9 + [("b",)] * 9, True),
        ([("a",)] * 9 + [("a", "b")] * 9 + [("b",)] * 9, False),
        ([("a",)] * 9 + [()] * 9, False),
    ],
    ids=["one-each", "both", "one-label"],
)
def test_labels_when_each_picture_has_exactly_one_exclude_each_other(
    labels: list[tuple[str, ...]],
    is_exclusive: bool,
) -> None:
    space = label_spaces([a_row(str(n), *names) for n, names in enumerate(labels)])["site"]

    assert space.is_exclusive is is_exclusive


def test_measured_classes_are_those_that_no_picture_shares() -> None:
    several = [("No Finding",)] * 20 + [("Pneumonia", "Edema")] * 9 + [("Pneumonia",)] * 9
    rows = [a_row(str(n), *names) for n, names in enumerate(several)]
    rows += [a_row(str(n), *(("ICU",) if n % 2 else ()), source="one") for n in range(40)]
    rows += [a_row(str(n), "same", source="none") for n in range(40)]

    classes = measured_classes(rows)

    assert classes == {"site": ("No Finding", "Pneumonia"), "one": ("ICU", "without ICU")}
    assert class_of(a_row("x", "Edema", "Pneumonia"), classes["site"]) == 1
    assert class_of(a_row("x", "Edema"), classes["site"]) is None
    assert [class_of(a_row("x", *names), classes["one"]) for names in (("ICU",), ())] == [0, 1]


def test_rarity_weights_make_labels_equally_frequent() -> None:
    rows = [a_row("x", "a")] * 6 + [a_row("x", "b")] * 2 + [a_row("x")] * 1

    weights = rarity_weights(LabelSpace("site", ("a", "b")), rows)

    assert weights.mean() == pytest.approx(1.0)
    assert weights[:6].sum() == pytest.approx(weights[6:8].sum())
    assert weights[:6].sum() == pytest.approx(weights[8])


@pytest.mark.parametrize(
    "changes",
    [
        {"n_epoch": 3},
        {"balance": "luck"},
        {"normalisation": "layer"},
        {"precision": "float8"},
        {"label_smoothing": 1.0},
        {"test_zooms": [2.0]},
        {"test_zooms": []},
        {"batch_size": 1},
        {"averaging": 1.0},
        {"backbone_rate": 0.0},
        {"n_epochs": -1},
        {"n_epochs": "many"},
        {"augmentation": {"flip": True}},
        {"contrast_weight": 0.0, "head_weight": 0.0},
        {"patience": 2, "n_averaged_epochs": 2},
        {"n_stored_views": 2, "normalisation": "batch"},
        {"n_stored_views": 2, "training_size_px": 128},
        {"n_stored_views": 2, "n_self_supervised_epochs": 1},
    ],
    ids=lambda changes: ",".join(f"{name}={value}" for name, value in changes.items()),
)
def test_recipe_that_cannot_be_meant_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        Recipe.full().changed(changes)


def test_recipe_file_when_read_changes_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        "n_epochs = 4\ntest_zooms = [1, 1.15]\n[augmentation]\nerased = 0.2\n", encoding="utf-8"
    )

    recipe = Recipe.full(seed=3).changed(changes_from_toml(path))

    assert (recipe.n_epochs, recipe.seed, recipe.test_zooms) == (4, 3, (1.0, 1.15))
    assert recipe.augmentation == dataclasses.replace(Recipe().augmentation, erased=0.2)
    assert json.loads(json.dumps(recipe.to_json()))["augmentation"]["erased"] == 0.2


@pytest.mark.parametrize("content", [None, b"n_epochs =", b"\xff"], ids=["none", "broken", "bytes"])
def test_recipe_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "recipe.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(RecipeError, match=r"recipe\.toml"):
        changes_from_toml(path)


def test_record_when_resumed_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "run" / "run.json"
    first = RunRecord(path)
    first.add_epoch(0, loss=3.0)
    first.add_epoch(1, loss=float("nan"))
    first.add_epoch(2, loss=1.0)

    second = RunRecord(path)
    second.go_on()
    second.add_epoch(2, loss=0.9)
    second.write(state="finished")

    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["state"] == "finished"
    assert content["epochs"] == [
        {"epoch": 0, "loss": 3.0},
        {"epoch": 1, "loss": None},
        {"epoch": 2, "loss": 0.9},
    ]
    assert content["software"]["numpy"] == np.__version__
    assert not list(path.parent.glob("*.part"))


def test_record_when_described_names_side_and_hash_of_each_picture() -> None:
    rows = [a_row("a", side="train"), a_row("b", side="test"), a_row("c", side="validation")]
    pictures = {row.path.name: noise(number) for number, row in enumerate(rows)}
    clean = clean_pictures(rows, SMALL, lambda row: pictures[row.path.name], no_progress)
    split = stated_split(clean.rows)
    assert split is not None

    described = described_pictures(clean, split)

    assert [(one["name"], one["side"]) for one in described["pictures"]] == [
        ("site/a", "train"),
        ("site/b", "test"),
        ("site/c", "validation"),
    ]
    assert [one["sha256"] for one in described["pictures"]] == clean.sha256
    assert described["sha256"] == clean.content_hash
