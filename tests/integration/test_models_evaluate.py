"""`precedent models evaluate` and `compare` as a person runs them, on pictures that tests make."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cds.adapters.storage import initialise, open_storage
from cds.cli.main import EXIT_REFUSED, main
from cds.library.grey_png import grey_png
from cds.settings import settings_from_environment
from tests.builders.library import a_case, a_picture
from tests.unit.models.tiny_encoder import DIMENSION, tiny_encoder

N_PER_CLASS = 12


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return tiny_encoder(tmp_path / "tiny")


def grey(seed: int) -> np.ndarray:
    """Smooth blobs: unlike each other, so that none counts as a copy of another."""
    blobs = np.random.default_rng(seed).integers(0, 255, (7, 7)).astype(np.uint8)
    return np.asarray(Image.fromarray(blobs).resize((96, 96), Image.Resampling.BICUBIC))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One folder per class; two pictures per patient."""
    for place, name in enumerate(("No finding", "Pneumonia")):
        (tmp_path / "site" / name).mkdir(parents=True)
        for number in range(2 * N_PER_CLASS):
            picture = Image.fromarray(grey(100 * place + number))
            patient = f"person{place}{number // 2:02d}"
            picture.save(tmp_path / "site" / name / f"{patient}_{number}.png")
    return tmp_path / "site"


def options(folder: Path) -> list[str]:
    return ["--folder", str(folder), "--patient-pattern", r"person(\d+)", "--resamples", "20"]


def test_evaluate_writes_a_report_that_names_nobody(
    encoder: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    baseline = ["--baseline", str(encoder / "model.onnx")]

    status = main(
        ["models", "evaluate", str(encoder), *options(folder), *baseline, "--out", str(out)]
    )

    assert status == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["n_queries"] == 4 * N_PER_CLASS
    assert report["n_query_patients"] == 2 * N_PER_CLASS
    assert report["retrieval"][0]["gain"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF-")
    page = (out / "report.html").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    for text in (page, json.dumps(report), printed):
        assert "person0" not in text
        assert "P@1" in text


def test_compare_prints_what_it_writes(
    encoder: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, file = tiny_encoder(tmp_path / "other", seed=5), tmp_path / "deep" / "ab.json"
    words = ["models", "compare", str(encoder), str(other), *options(folder)]

    assert main([*words, "--json", "--out", str(file)]) == 0

    found = json.loads(file.read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out) == found
    assert found["schema"] == "precedent.comparison/1"
    assert (found["a_name"], found["b_name"]) == ("tiny", "other")
    assert found["a_hash"] != found["b_hash"]


def test_library_is_measured_by_the_vectors_that_it_holds(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored vectors are perfect on purpose: no encoder would give these."""
    from models.evaluation.encoding import open_encoder

    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(tmp_path / "state"))
    settings = settings_from_environment()
    initialise(settings)
    storage = open_storage(settings)
    vectors = {}
    for number in range(4 * N_PER_CLASS):
        picture = a_picture(f"pic{number}", blob_key=storage.blobs.put(grey_png(grey(number))))
        findings = a_case("x").findings[:1] if number % 2 else ()
        case = a_case(
            f"c{number:03d}",
            pictures=(picture,),
            findings=findings or other_finding(),
            patient_key=f"key{number}",
            study_key=f"study{number}",
        )
        assert storage.catalogue.add_case(case, content_sha256=[f"sha{number}"], notes={})
        vectors[picture.picture_id] = np.eye(DIMENSION, dtype=np.float32)[number % 2]
    storage.embeddings.add_embeddings(open_encoder(str(encoder)).encoder_hash, vectors)
    storage.engine.dispose()
    out = tmp_path / "out"

    status = main(
        ["models", "evaluate", str(encoder), "--library", "--resamples", "20", "--out", str(out)]
    )

    assert status == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["retrieval"][0]["estimate"]["value"] == 1.0
    assert report["baseline_name"] is None


def other_finding() -> tuple:
    from cds.domain.coding import Coding
    from cds.domain.facts import Finding

    return (Finding(Coding("Pleural effusion", "60046008")),)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["--folder", "{site}"], "--patient-pattern", id="no-word-on-patients"),
        pytest.param(["--folder", "{site}/gone"], "There is no folder", id="no-folder"),
        pytest.param(["--medmnist", "{site}"], "no MedMNIST file", id="no-archive"),
        pytest.param(
            ["--folder", "{site}", "--one-patient-per-picture", "--class", "A", "--class", "B"],
            "No picture has the class 'A', 'B'",
            id="no-such-class",
        ),
    ],
)
def test_evaluate_when_the_pictures_are_not_understood_says_what_to_do(
    encoder: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    given = [word.format(site=folder) for word in words]

    assert main(["models", "evaluate", str(encoder), *given]) == EXIT_REFUSED
    assert said in capsys.readouterr().err


def test_evaluate_without_the_extra_says_what_to_install(
    encoder: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "seaborn", None)

    assert main(["models", "evaluate", str(encoder), *options(folder)]) == EXIT_REFUSED
    assert "precedent-cds[evaluate]" in capsys.readouterr().err


def test_report_when_its_folder_cannot_be_made_is_a_sentence(
    encoder: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = ["models", "evaluate", str(encoder), *options(folder)]

    assert main([*words, "--out", str(tmp_path / "file" / "out")]) == EXIT_REFUSED
    assert "cannot be written" in capsys.readouterr().err
