"""From pictures to report: sets without leaks, one value, JSON, HTML and PDF that say it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from models.evaluation.dataset import (
    SEX,
    SOURCE,
    VIEW,
    LabelledPicture,
    Side,
    evaluation_set,
    stated,
    with_classes,
)
from models.evaluation.encoding import StoredVectors, encoded, open_baseline, open_encoder
from models.evaluation.evaluation import Evaluation, EvaluationSettings, evaluate
from models.evaluation.medmnist import read_medmnist
from models.evaluation.paired import compared
from models.evaluation.picture_table import read_picture_table
from models.evaluation.plots import figures_of
from models.evaluation.report_document import report_document
from models.evaluation.report_html import report_html
from models.evaluation.report_pdf import report_pdf
from tests.unit.models.evaluation_sets import a_set, a_subject, clustered
from tests.unit.models.radiographs import a_radiograph
from tests.unit.models.tiny_encoder import DIMENSION, tiny_encoder

QUICK = EvaluationSettings(seed=3, n_resamples=30)


def a_film(seed: int) -> PixelFrame:
    return PixelFrame(a_radiograph(seed), content_sha256=f"{seed:064d}")


def a_labelled(number: int, *labels: str, patient: str = "", **more: Any) -> LabelledPicture:
    return LabelledPicture(labels, patient or f"p{number}", partial(a_film, number), **more)


def measured(labels: list[int], *, with_baseline: bool = True) -> Evaluation:
    n = len(labels)
    views = [("PA", "AP")[i // 2 % 2] for i in range(n)]
    sexes = [("female", "male", "")[i % 3] for i in range(n)]
    data = a_set(labels, attributes={VIEW: views, SEX: sexes, SOURCE: ["nih_chestxray14"] * n})
    ours = a_subject(clustered(labels, spread=0.4, seed=1), "ours")
    theirs = a_subject(clustered(labels, spread=0.8, seed=2), "theirs")
    return evaluate(data, ours, theirs if with_baseline else None, QUICK)


# Sets


def test_classes_when_wanted_go_by_the_first_that_a_picture_has() -> None:
    pictures = [
        a_labelled(0, "Infiltration", "Pneumonia"),
        a_labelled(1, "No Finding"),
        a_labelled(2, "Mass"),
    ]

    kept, classes, notes = with_classes(pictures, ("No Finding", "Pneumonia"))

    assert [p.labels for p in kept] == [("Pneumonia",), ("No Finding",)]
    assert classes == ("No Finding", "Pneumonia")
    assert notes == ("1 pictures have none of the classes and are left out.",)


def test_classes_when_not_wanted_are_first_labels_of_enough_patients_healthy_first() -> None:
    pictures = [a_labelled(i, "Mass") for i in range(12)]
    pictures += [a_labelled(100 + i, "No Finding") for i in range(10)]
    pictures += [a_labelled(200 + i, "Rare", patient="one") for i in range(20)]

    kept, classes, notes = with_classes(pictures)

    assert classes == ("No Finding", "Mass")
    assert len(kept) == 22
    assert notes[0].startswith("20 pictures of 1 classes")


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [(("Mass", "Gone"), "'Gone'"), ((), "fewer than two classes")],
    ids=["absent", "too-few"],
)
def test_classes_when_they_cannot_be_told_apart_are_refused(
    wanted: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(CdsError, match=reason):
        with_classes([a_labelled(i, "Mass") for i in range(12)], wanted)


def test_copies_of_different_patients_never_meet_and_are_counted() -> None:
    numbers = [1, 2, 1, 3]
    pictures = [a_labelled(n, "ab"[i % 2], patient=f"q{i}") for i, n in enumerate(numbers)]
    thumbnails = np.stack(
        [np.random.default_rng(n).integers(0, 255, (64, 64)) for n in numbers]
    ).astype(np.uint8)

    data = evaluation_set(
        "x", pictures, ("a", "b"), content=["c0", "c1", "c2", "c3"], thumbnails=thumbnails
    )

    assert data.groups.tolist() == [0, 1, 0, 3]
    assert data.patients.tolist() == [0, 1, 2, 3]
    assert data.notes[-1].startswith("1 pairs of pictures of different patients")
    changed = [replace_label(pictures[0], "b"), *pictures[1:]]
    other = evaluation_set(
        "x", changed, ("a", "b"), content=["c0", "c1", "c2", "c3"], thumbnails=thumbnails
    )
    assert other.data_hash != data.data_hash


def replace_label(picture: LabelledPicture, label: str) -> LabelledPicture:
    return replace(picture, labels=(label,))


def test_stated_attributes_are_spelt_alike_and_the_rest_is_absent() -> None:
    assert stated(source="s", view="AP Supine", sex="F", age="1-5 (cohort)") == {
        "source": "s",
        "view": "AP",
        "sex": "female",
        "age band": "under 18",
    }
    assert stated(source="s", view="", sex="?", age=None) == {"source": "s"}


# Reading


def write_medmnist(path: Path, **changes: np.ndarray) -> Path:
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        f"{split}_{kind}": generator.integers(0, 255, (n, 28, 28)).astype(np.uint8)
        if kind == "images"
        else (np.arange(n) % 2).astype(np.uint8)[:, None]
        for split, n in (("train", 6), ("val", 4), ("test", 5))
        for kind in ("images", "labels")
    }
    np.savez(path, **{**arrays, **changes})
    return path


def test_medmnist_queries_the_test_split_in_train_and_validation(tmp_path: Path) -> None:
    pictures = read_medmnist(write_medmnist(tmp_path / "pneumoniamnist_x.npz"))

    assert [p.side for p in pictures] == [Side.LIBRARY] * 10 + [Side.QUERY] * 5
    assert {p.labels[0] for p in pictures} == {"normal", "pneumonia"}
    assert len({p.patient for p in pictures}) == 15
    assert pictures[0].read().pixels.shape == (28, 28)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"test_images": np.zeros((5, 28, 28, 28), np.uint8)}, id="volumes"),
        pytest.param({"test_labels": np.zeros((5, 14), np.uint8)}, id="several-labels"),
        pytest.param({"test_labels": np.array([None] * 5)}, id="objects-would-need-pickle"),
    ],
)
def test_medmnist_file_of_another_kind_is_refused(
    tmp_path: Path, changes: dict[str, np.ndarray]
) -> None:
    path = write_medmnist(tmp_path / "x.npz", **changes)

    with pytest.raises(CdsError) as refused:
        read_medmnist(path)
    assert refused.value.reason is Reason.INVALID_REQUEST


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04broken"])
def test_medmnist_file_that_is_damaged_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)

    with pytest.raises(CdsError, match="no MedMNIST file"):
        read_medmnist(tmp_path / "x.npz")


def write_table(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "metadata.csv").write_text(text, encoding="utf-8")
    return folder


def test_table_gives_labels_patients_and_attributes(tmp_path: Path) -> None:
    folder = write_table(
        tmp_path / "site",
        "file,labels,patient_id,view,sex,age,dup_group\n"
        "a.png,Mass|Nodule,7,PA,M,70,d1\nb.png,No Finding,,,,,\n",
    )

    (first, second), notes = read_picture_table(folder, lambda file: a_film(len(file.name)))

    assert first.labels == ("Mass", "Nodule")
    assert (first.patient, second.patient) == ("site:7", "site:b.png")
    assert first.duplicate_group == "d1"
    assert first.attributes["age band"] == "65 and over"
    assert notes[0].startswith("1 pictures of site name no patient")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,patient_id\na.png,1\n", "lacks the column labels"),
        ("file,labels\n../a.png,x\n", "outside the folder"),
    ],
    ids=["no-labels", "outside"],
)
def test_table_that_cannot_be_used_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CdsError, match=said):
        read_picture_table(write_table(tmp_path / "f", text), lambda _file: a_film(0))


# Encoding


@pytest.mark.parametrize("n_threads", [1, 3])
def test_pictures_are_embedded_in_order_and_unreadable_ones_counted(
    tmp_path: Path, n_threads: int
) -> None:
    encoder = open_encoder(str(tiny_encoder(tmp_path / "tiny")))
    flat = PixelFrame(np.full((40, 40), 0.5, np.float32), content_sha256="0")
    pictures = [a_labelled(i, "a") for i in range(20)]
    pictures[7] = LabelledPicture(("a",), "flat", lambda: flat)
    told: list[tuple[int, int]] = []

    found = encoded(
        pictures,
        [encoder],
        progress=lambda done, total: told.append((done, total)),
        n_threads=n_threads,
    )

    assert found.content == tuple(f"{i:064d}" for i in range(20) if i != 7)
    expected = encoder.vectors([a_film(12)])[0]
    assert found.vectors[0][11] == pytest.approx(expected, abs=1e-6)
    assert sum(found.refused.values()) == 1
    assert "1 pictures could not be read" in found.notes[0]
    assert told[-1] == (20, 20)


def test_bare_network_sees_what_the_encoder_sees(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "tiny")
    encoder = open_encoder(str(folder))

    bare = open_baseline(folder / "model.onnx", encoder)

    assert bare.name == "model (frozen)"
    assert bare.vectors([a_film(1)]) == pytest.approx(encoder.vectors([a_film(1)]), abs=1e-6)


def test_baseline_that_is_missing_is_refused(tmp_path: Path) -> None:
    encoder = open_encoder(str(tiny_encoder(tmp_path / "tiny")))

    with pytest.raises(CdsError, match="no model file"):
        open_baseline(tmp_path / "gone.onnx", encoder)


def test_stored_vectors_are_taken_and_others_embedded(tmp_path: Path) -> None:
    encoder = open_encoder(str(tiny_encoder(tmp_path / "tiny")))
    kept = np.eye(DIMENSION, dtype=np.float32)[2]

    found = StoredVectors(encoder, {a_film(1).content_sha256: kept}).vectors([a_film(1), a_film(2)])

    assert found[0].tolist() == kept.tolist()
    assert found[1] == pytest.approx(encoder.vectors([a_film(2)])[0], abs=1e-6)


# The whole


def test_evaluation_is_the_same_again_and_names_what_it_rests_on() -> None:
    labels = [0, 1] * 40

    found, again = measured(labels), measured(labels)

    assert found.to_json() == again.to_json()
    assert found.to_json()["schema"] == "precedent.evaluation/1"
    assert (found.n_queries, found.class_counts["b"]) == (80, (40, 40))
    for one in found.retrieval:
        assert one.gain is not None
        assert one.baseline is not None
        assert one.gain.value == pytest.approx(one.estimate.value - one.baseline.value)


def test_evaluation_of_pictures_seen_in_training_says_so() -> None:
    labels = [0, 1] * 12
    data = a_set(labels, attributes={SOURCE: ["nih_chestxray14_subset"] * 24})
    seen = replace(
        a_subject(clustered(labels, spread=0.3, seed=1)), trained_on=("NIH-ChestXray14",)
    )

    found = evaluate(data, seen, None, QUICK)

    assert "was trained on pictures of nih_chestxray14_subset" in found.training_notes[0]
    assert evaluate(data, replace(seen, trained_on=("kaggle",)), None, QUICK).training_notes == ()


@pytest.mark.parametrize("labels", [[0, 1] * 30, [0, 1, 2] * 20], ids=["two", "three"])
@pytest.mark.parametrize("with_baseline", [True, False])
def test_report_says_in_html_and_pdf_what_was_measured(
    labels: list[int], *, with_baseline: bool
) -> None:
    found = measured(labels, with_baseline=with_baseline)
    document = report_document(found, figures_of(found), made_at="2026-11-20T00:00:00+00:00")

    page = report_html(document)

    assert str(found.retrieval[0].estimate) in page
    assert f"{found.retrieval[0].majority:.3f}" in page
    for audit in found.shortcuts:
        assert escape(audit.verdict) in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<script" not in page
    alts = re.findall(r"<img[^>]* alt=\"([^\"]*)\"", page)
    assert len(alts) >= 6
    assert all(len(alt) > 20 for alt in alts)
    pdf = report_pdf(document)
    assert pdf.startswith(b"%PDF-")
    assert pdf == report_pdf(document)
    json.dumps(found.to_json(), allow_nan=False)


def test_report_escapes_names() -> None:
    found = replace(measured([0, 1] * 15), data_name="<b>x</b>&")

    page = report_html(report_document(found, figures_of(found), made_at="now"))

    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;&amp;" in page


def test_comparison_is_antisymmetric_and_counts_flips() -> None:
    labels = [0, 1] * 30
    data = a_set(labels)
    a = a_subject(clustered(labels, spread=0.2, seed=1), "a")
    b = a_subject(clustered(labels, spread=1.2, seed=2), "b")

    one, other = compared(data, a, b, QUICK), compared(data, b, a, QUICK)

    for forth, back in zip(one.measures["retrieval"], other.measures["retrieval"], strict=True):
        assert forth.gain is not None
        assert back.gain is not None
        assert forth.gain.value == pytest.approx(-back.gain.value)
        assert forth.gain.low == pytest.approx(-back.gain.high)
    assert (one.n_only_a, one.n_only_b) == (other.n_only_b, other.n_only_a)
    gain = one.measures["retrieval"][0].gain
    assert gain is not None
    assert one.n_only_a - one.n_only_b == pytest.approx(gain.value * 60)
    assert "more often with A" in one.verdict
    assert "more often with B" in other.verdict


def test_comparison_of_an_encoder_with_itself_tells_nothing_apart() -> None:
    labels = [0, 1] * 15
    a = a_subject(clustered(labels, spread=0.6, seed=1))

    assert "does not tell" in compared(a_set(labels), a, a, QUICK).verdict
