"""`precedent models train` from a folder to an encoder that the product opens."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from cds.cli import models_train
from cds.domain.errors import CdsError
from cds.domain.pixels import PixelFrame
from models.embedder import (
    EMBEDDING_OUTPUT,
    FEATURE_MAP_OUTPUT,
    FINDING_LOGITS_OUTPUT,
    INPUT_NAME,
    OnnxImageEmbedder,
)
from models.manifest import read_manifest
from models.preprocessing import Preprocessing
from models.training import job as training_job
from models.training.comparison import WorseThanFrozenError
from models.training.mobilenet import start_from
from tests.train.pictures import BLOB, PLAIN, a_labelled_folder, a_varied_radiograph, save

UNREADABLE = "The picture cannot be read: the file is damaged or incomplete."
PATIENT = r"p(\d+)_"
SHORT = ["--size-px", "64", "--epochs", "1", "--projection-epochs", "2", "--threads", "1"]


def command(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    models_train.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["train", *map(str, words)])
    return int(arguments.run(arguments))


def record_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        out.with_name(f"{out.name}.run").joinpath("run.json").read_text(encoding="utf-8")
    )
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = a_labelled_folder(tmp_path_factory.mktemp("pictures") / "site", n_patients=24)
    twin = (folder / BLOB / "p03_7.png").read_bytes()
    (folder / BLOB / "p03_twin.png").write_bytes(twin)
    (folder / PLAIN / "p05_broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    save(np.full((90, 90), 0.4, np.float32), folder / PLAIN / "p06_blank.png")
    save(a_varied_radiograph(3, has_blob=False)[:40, :40], folder / PLAIN / "p07_small.png")
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoders") / "site-cxr-1"
    assert command(folder, "--out", out, "--patient-pattern", PATIENT, "--allow-worse", *SHORT) == 0
    return out


def test_encoder_when_trained_is_opened_and_embeds(encoder: Path) -> None:
    embedder = OnnxImageEmbedder.from_folder(encoder)

    (embedded,) = embedder.embed([PixelFrame(a_varied_radiograph(99, has_blob=True), "0" * 64)])

    assert embedder.encoder_name == "site-cxr-1"
    assert embedded.feature_map is not None
    mean = embedded.feature_map.mean(axis=(1, 2))
    assert np.allclose(embedded.vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_graph_when_exported_gives_one_logit_per_label_of_its_configuration(
    encoder: Path,
) -> None:
    configuration = json.loads((encoder / "config.json").read_text())
    session = onnxruntime.InferenceSession(str(encoder / "model.onnx"))
    preprocessing = Preprocessing.from_file(encoder / "preprocessor_config.json")
    batch = np.stack(
        [preprocessing(a_varied_radiograph(number, has_blob=False)) for number in range(3)]
    )

    embedding, feature_map, logits = session.run(
        [EMBEDDING_OUTPUT, FEATURE_MAP_OUTPUT, FINDING_LOGITS_OUTPUT], {INPUT_NAME: batch}
    )

    assert embedding.shape == (3, 256)
    assert feature_map.shape == (3, 256, 2, 2)
    assert logits.shape == (3, len(configuration["id2label"]))
    assert configuration["id2label"] == {"0": f"site: {BLOB}", "1": f"site: {PLAIN}"}
    assert configuration["finding_heads"] == [
        {"source": "site", "labels": [BLOB, PLAIN], "activation": "softmax"}
    ]


def test_encoder_when_trained_can_be_the_start_of_the_next(encoder: Path) -> None:
    start = start_from(encoder)

    assert start.has_projection
    assert start.name == "site-cxr-1"
    assert start.preprocessing.size_px == 64


def test_record_when_finished_says_what_was_used_and_what_was_not(encoder: Path) -> None:
    record = record_of(encoder)

    assert record["state"] == "finished"
    assert record["onnx_difference"] < 1e-4
    assert [one["epoch"] for one in record["epochs"]] == [0, 1]
    assert {one["side"] for one in record["data"]["pictures"]} == {"train", "validation", "test"}
    assert {one["name"]: one["reason"] for one in record["data"]["left_out"]} == {
        f"site/{BLOB}/p03_twin.png": f"same pixels as site/{BLOB}/p03_7.png",
        f"site/{PLAIN}/p05_broken.png": UNREADABLE,
        f"site/{PLAIN}/p06_blank.png": "The picture is blank: it has next to no contrast.",
        f"site/{PLAIN}/p07_small.png": "a side is shorter than 64 pixels",
    }
    assert set(record["measures"]) == {"frozen", "trained"}
    assert record["software"]["torch"] != "not installed"


def test_card_when_written_counts_the_training_rows_and_nothing_names_a_picture(
    encoder: Path,
) -> None:
    card = (encoder / "README.md").read_text(encoding="utf-8")
    manifest = read_manifest(encoder)

    (rows,) = manifest.training
    assert f"| site | {rows.n_pictures} | {rows.n_patients} | not stated |" in card
    assert "site, unseen library" in card
    texts = [path for path in encoder.iterdir() if path.suffix != ".onnx"]
    assert not any("p03_" in path.read_text(encoding="utf-8") for path in texts)


def test_folder_that_holds_an_encoder_is_not_overwritten(encoder: Path, folder: Path) -> None:
    with pytest.raises(CdsError, match="holds an encoder already"):
        command(folder, "--out", encoder, "--patient-pattern", PATIENT, *SHORT)


def test_leak_when_the_stated_split_has_one_names_the_pair(tmp_path: Path) -> None:
    for number, (side, label) in enumerate(
        [("train", BLOB), ("train", PLAIN), ("val", BLOB), ("test", PLAIN), ("test", BLOB)]
    ):
        pixels = a_varied_radiograph(number, has_blob=label == BLOB)
        save(pixels, tmp_path / "site" / side / label / f"p{number}_0.png")
    save(
        a_varied_radiograph(0, has_blob=True)[2:, 2:],
        tmp_path / "site" / "test" / BLOB / "p9_9.png",
    )

    with pytest.raises(
        CdsError, match=rf"site/test/{BLOB}/p9_9.png and site/train/{BLOB}/p0_0.png lie"
    ):
        command(
            *(tmp_path / "site", "--out", tmp_path / "out", "--patient-pattern", PATIENT),
            *("--keep-split", *SHORT),
        )


def a_table(folder: Path, *, n_pictures: int = 40) -> Path:
    """The shared layout with a split column and two labels that do not exclude each other."""
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["file", "patient_id", "labels", "image_licence", "split"])
        for number in range(n_pictures):
            name = f"images/{number}.png"
            save(a_varied_radiograph(number, has_blob=number % 2 == 0), folder / name)
            labels = "|".join(["Blob"] * (number % 2 == 0) + ["Old"] * (number % 4 < 2))
            side = ("Training", "Training", "valid", "test")[number // 2 % 4]
            table.writerow([name, f"p{number // 2}", labels, "CC0", side])
    return folder


def test_worse_encoder_is_exported_only_when_allowed_and_its_card_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(_trained: object, _frozen: object) -> None:
        raise WorseThanFrozenError("P@1 within site is below the frozen start")

    monkeypatch.setattr(training_job, "refuse_loser", worse)
    words = [str(a_table(tmp_path / "site")), "--out", str(tmp_path / "out"), "--keep-split"]
    words += [*SHORT, "--balance", "loss", "--freeze-blocks", "15"]

    with pytest.raises(CdsError, match="nothing was exported, since P@1 within site"):
        command(*words)

    assert not (tmp_path / "out").exists()
    assert record_of(tmp_path / "out")["state"] == "worse than the frozen start"
    with pytest.raises(CdsError, match="go on with --resume"):
        command(*words, "--allow-worse")
    assert command(*words, "--allow-worse", "--resume") == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "**Worse than the frozen start**: P@1 within site" in card
    heads = json.loads((tmp_path / "out" / "config.json").read_text())["finding_heads"]
    assert heads == [{"source": "site", "labels": ["Blob", "Old"], "activation": "sigmoid"}]
    assert [one["epoch"] for one in record_of(tmp_path / "out")["epochs"]] == [0, 1]


def test_file_that_is_no_network_is_refused_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.onnx"
    start.write_bytes(b"no graph")

    with pytest.raises(CdsError, match="not a graph"):
        command(
            *(folder, "--out", tmp_path / "out", "--start", start),
            *("--patient-pattern", PATIENT, *SHORT),
        )
