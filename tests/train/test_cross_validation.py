"""Folds without leaks, one encoder per fold that never sees its own, and the page of figures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from models.preprocessing import Preprocessing
from models.training.comparison import TASKS
from models.training.cross_validation import (
    PICTURES_FILE,
    START,
    Fold,
    _stop_when_alone,
    train_fold,
)
from models.training.cross_validation_page import (
    MARKS,
    FoldVectors,
    Results,
    figures,
    replace_figures,
    tables,
)
from models.training.fold_pictures import NO_FOLD, OPENI_VARIANTS, FoldPictures
from models.training.mobilenet import RetrievalEncoder
from models.training.recipe import Recipe
from models.training.rows import KERMANY, NIH, grey_squares, permissive_rows
from tests.train.tiny_run import a_network

N_PATIENTS = 60
UNTRAINED = ("brain_mri", "chest_ct_cancer", "covid_ct", *OPENI_VARIANTS)


def some_pictures() -> FoldPictures:
    """Two films each of sixty patients of both trained sources, and six of each other one."""
    collections, classes, groups, views, trainable = [], [], [], [], []
    for place, source in enumerate((NIH, KERMANY)):
        for patient in range(N_PATIENTS):
            for film in range(2):
                collections.append(source)
                classes.append(patient % len(TASKS[source]))
                groups.append(place * 1000 + patient)
                views.append("PA" if film else "AP")
                trainable.append(True)
    for source in UNTRAINED:
        for number in range(6):
            collections.append(source)
            classes.append(number % 2)
            groups.append(9000 + number)
            views.append("")
            trainable.append(False)
    n = len(classes)
    return FoldPictures(
        names=np.array([f"{source}/{i}.png" for i, source in enumerate(collections)]),
        collections=np.array(collections),
        squares=np.zeros((n, 2, 2), dtype=np.uint8),
        classes=np.array(classes),
        groups=np.array(groups),
        views=np.array(views),
        trainable=np.array(trainable),
    )


def some_results() -> Results:
    """A frozen start that knows nothing, and trainings that know every class."""
    pictures = some_pictures()
    generator = np.random.default_rng(0)
    frozen = generator.standard_normal((len(pictures.names), 8)).astype(np.float32)
    frozen /= np.linalg.norm(frozen, axis=1, keepdims=True)
    known = np.eye(3, dtype=np.float32)[pictures.classes]
    trainings = []
    for seed in range(2):
        folds = pictures.folds(5, seed=seed)
        for number in range(5):
            vectors = known.copy()
            if seed:
                vectors[~pictures.trainable] = np.nan
            trainings.append(FoldVectors(seed, number, vectors, folds))
    return Results(pictures, frozen, trainings)


def test_folds_keep_groups_together_and_leave_out_what_is_not_trained_on() -> None:
    pictures = some_pictures()

    folds = pictures.folds(5, seed=1)

    assert set(folds[pictures.trainable].tolist()) == set(range(5))
    assert set(folds[~pictures.trainable].tolist()) == {NO_FOLD}
    for group in np.unique(pictures.groups[pictures.trainable]):
        assert len(set(folds[pictures.groups == group].tolist())) == 1
    assert not np.array_equal(folds, pictures.folds(5, seed=2))


def test_pictures_come_back_from_their_file(tmp_path: Path) -> None:
    pictures = some_pictures()

    pictures.write(tmp_path / "pictures.npz")

    again = FoldPictures.read(tmp_path / "pictures.npz")
    assert np.array_equal(again.names, pictures.names)
    assert np.array_equal(again.classes, pictures.classes)


def test_figures_tell_a_knowing_encoder_from_an_ignorant_start() -> None:
    found = figures(some_results())

    for by_library in found["within source"].values():
        for values in by_library.values():
            assert values["P@1"]["after"]["value"] == 1.0
            assert values["P@1"]["before"]["value"] < 0.7
            assert values["P@1"]["gain"]["low"] > 0.0
        # In the held-out fold of so few patients every case votes, whatever its vector.
        assert by_library["training folds"]["AUROC"]["after"]["value"] == 1.0
    whole = found["within source"]["NIH, pneumonia or not"]["training folds"]
    assert whole["n_queries"] == 2 * 2 * N_PATIENTS  # every film once per seed
    alone = found["within source"]["NIH, PA films alone"]["training folds"]
    assert alone["n_queries"] == 2 * N_PATIENTS
    assert len(found["not trained on"]["brain_mri"]["P@1 by training"]) == 5  # of the first seed
    assert {n for one in found["chest or abdomen"].values() for n in one["trained"]} == {6}


def test_tables_replace_what_stood_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    start, end = MARKS
    page.write_text(f"# Title\n{start}stale figures\n{end}\nrest\n", encoding="utf-8")
    text = tables(figures(some_results()))

    replace_figures(page, text)

    content = page.read_text("utf-8")
    assert "stale figures" not in content
    assert "| Kermany, bacterial / viral / normal |" in content
    assert content.startswith("# Title")
    assert content.endswith("rest\n")
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="marks"):
        replace_figures(page, text)


def test_encoder_of_a_fold_is_trained_without_it_and_embeds_everything(
    data: Path, shared_dir: Path, tmp_path: Path
) -> None:
    preprocessing = Preprocessing(size_px=64)
    rows = permissive_rows(data)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "data").symlink_to(data)
    (tmp_path / "shared" / "weights").symlink_to(shared_dir / "weights")
    pictures = FoldPictures(
        names=np.array([row.name for row in rows]),
        collections=np.array([row.source for row in rows]),
        squares=grey_squares(rows, preprocessing),
        classes=np.array([int("Pneumonia" in row.labels) for row in rows]),
        groups=np.unique([row.patient for row in rows], return_inverse=True)[1],
        views=np.full(len(rows), ""),
        trainable=np.ones(len(rows), dtype=np.bool_),
    )
    pictures.write(tmp_path / PICTURES_FILE)
    recipe = Recipe(
        n_epochs=1, n_projection_epochs=0, n_stored_views=1, n_frozen_blocks=16, targets="classes"
    )
    fold = Fold(tmp_path / "shared", tmp_path, 0, 2, recipe, 64)

    train_fold(fold)

    assert (tmp_path / "shared" / START).is_file()
    with np.load(fold.vectors) as held:
        assert np.isfinite(held["vectors"]).all()
        assert np.allclose(np.linalg.norm(held["vectors"], axis=1), 1.0, atol=1e-5)
        assert np.array_equal(held["folds"], pictures.folds(5, seed=0))


def test_process_whose_parent_is_gone_stops_after_its_epoch() -> None:
    encoder = RetrievalEncoder(a_network(), dimension=4)

    _stop_when_alone(os.getppid())(1, 0.5, encoder)

    with pytest.raises(SystemExit, match="stopped"):
        _stop_when_alone(-1)(1, 0.5, encoder)
