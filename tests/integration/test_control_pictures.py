"""Control pictures through the whole engine: blank, noise, photograph; a swapped film."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from cds.cli.main import main

N_IMPORTED = 150


@pytest.fixture(scope="module")
def films(shared_dir: Path) -> Path:
    return shared_dir / "data" / "covid_chestxray"


@pytest.fixture(scope="module", autouse=True)
def state(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRECEDENT_STATE_DIR", str(folder))
        assert main(["init"]) == 0
        wanted = ["--writing-reviewed", "--limit", str(N_IMPORTED)]
        assert main(["library", "import", str(films), *wanted]) == 0
        yield folder


def a_picture(kind: str) -> Any:
    rng = np.random.default_rng(3)
    if kind == "noise":
        return rng.integers(0, 256, (400, 360), dtype=np.uint8)
    if kind == "blank":
        return np.full((400, 360), 90, dtype=np.uint8)
    return load_sample_images().images[0].mean(axis=2).astype(np.uint8)


def answer(picture: Path, capsys: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["match", str(picture), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.parametrize("kind", ["noise", "blank"])
def test_picture_that_shows_nothing_is_refused_in_words(
    kind: str, tmp_path: Path, capsys: Any
) -> None:
    file = tmp_path / "control.png"
    Image.fromarray(a_picture(kind)).save(file)
    capsys.readouterr()
    assert main(["match", str(file), "--json"]) == 2
    told = capsys.readouterr()
    assert kind in told.err
    assert not told.out


def test_photograph_is_unlike_the_library(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "photograph.png"
    Image.fromarray(a_picture("photograph")).save(file)
    report = answer(file, capsys)
    assert report["state"] == "nothing-comparable"
    assert "unlike the library's pictures" in report["abstention"]
    assert report["neighbors"] == report["findings"] == []


def test_swapped_film_changes_the_answer(films: Path, capsys: Any) -> None:
    pictures = sorted((films / "images").iterdir())[-40:]
    answers = [answer(picture, capsys) for picture in pictures[::20]]
    assert answers[0]["input_hash"] != answers[1]["input_hash"]
    named = [[n["case_id"] for n in one["neighbors"]] for one in answers]
    assert named[0] != named[1] or named == [[], []]
