"""Figures of the card come from the run record and the report, and from nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cds.cli.main import main
from cds.domain.source_attributes import NOT_AVAILABLE
from models.embedder import OnnxImageEmbedder, encoder_hash_of_folder
from models.manifest import CARD_FILE, Manifest, TrainingRows
from models.model_card_figures import figures_of_report, figures_of_run
from tests.unit.models.tiny_encoder import DIMENSION, tiny_encoder

if TYPE_CHECKING:
    from pathlib import Path

UNSETTLED = {"value": None, "low": None, "high": None}


def an_estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def a_run(**changes: Any) -> dict[str, Any]:
    frozen, trained = ({"toys": {"P@1": an_estimate(value)}} for value in (0.6, 0.7))
    return {"encoder": "tiny", "measures": {"frozen": frozen, "trained": trained}, **changes}


def a_measure(name: str, value: float) -> dict[str, Any]:
    return {
        "name": name,
        "estimate": an_estimate(value),
        "baseline": an_estimate(value - 0.1),
        "gain": an_estimate(0.1),
        "majority": 0.5,
    }


def a_group(attribute: str, value: str, **changes: Any) -> dict[str, Any]:
    group = {"attribute": attribute, "value": value, "n_queries": 30, "n_patients": 20}
    return group | {"precision_at_1": an_estimate(0.8), "auroc": UNSETTLED} | changes


def a_report(**changes: Any) -> dict[str, Any]:
    report = {
        "schema": "precedent.evaluation/1",
        "data_name": "toy films",
        "classes": ["No Finding", "Toy"],
        "is_leave_one_out": True,
        "n_queries": 60,
        "n_query_patients": 40,
        "n_library": 60,
        "encoder_hash": "0" * 64,
        "baseline_name": "frozen",
        "retrieval": [a_measure("P@1", 0.8)],
        "classifiers": [{"method": "15 nearest neighbours", "measures": [a_measure("AUROC", 0.9)]}],
        "subgroups": [a_group("sex", "female"), a_group("source", "toys")],
        "training_notes": ["tiny was trained on pictures of toys."],
        "notes": ["2 pictures were left out."],
    }
    return report | changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tiny_encoder(tmp_path / "tiny")
    training = (TrainingRows("toys", 10, 5, "CC0"),)
    Manifest.of_folder(
        folder, created_on="2026-11-27", dimension=DIMENSION, training=training
    ).write(folder)
    return folder


def written(folder: Path, **files: Any) -> list[str]:
    """Write the files beside the folder and return the command that names them."""
    words = ["models", "card", str(folder)]
    for option, content in files.items():
        path = folder.parent / f"{option}.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        words += [f"--{option.replace('_', '-')}", str(path)]
    return words


def test_run_when_finished_gives_the_trained_beside_the_frozen() -> None:
    lines = (figures_of_run(a_run())["7.i"].value or "").splitlines()
    assert lines[1:] == [
        "toys: frozen: P@1 0.600 (0.500 to 0.700)",
        "toys: trained: P@1 0.700 (0.600 to 0.800)",
    ]


@pytest.mark.parametrize(
    "run",
    [{}, {"measures": {}}, {"measures": {"trained": {"toys": {"P@1": 0.7}}}}],
    ids=["no-measures", "not-trained", "no-estimate"],
)
def test_run_when_unfinished_or_strange_is_refused(run: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no measures"):
        figures_of_run(run)


def test_report_when_of_the_same_source_states_validity_and_groups() -> None:
    found = figures_of_report(a_report(), is_external=False)
    assert set(found) == {"7.i", "7.ii"}
    assert found["7.i"].value is not None
    assert (
        "P@1 0.800 (0.700 to 0.900); frozen 0.700 (0.600 to 0.800); "
        "difference +0.100 (+0.000 to +0.200); most frequent class alone 0.500"
    ) in found["7.i"].value.splitlines()
    assert "tiny was trained on pictures of toys." in found["7.i"].value
    assert "2 pictures were left out." in found["7.i"].value
    assert found["7.ii"].value is not None
    assert found["7.ii"].value.splitlines()[1:] == [
        "sex female: 30 pictures of 20 patients: P@1 0.800 (0.700 to 0.900), AUROC not settled"
    ]


def test_report_when_external_states_the_external_paragraphs() -> None:
    found = figures_of_report(a_report(subgroups=[]), is_external=True)
    assert set(found) == {"6.i", "6.ii", "6.iii", "6.iv", "7.iii", "7.iv"}
    assert found["7.iv"].text == f"{NOT_AVAILABLE}: {found['7.iv'].reason}"
    assert found["6.ii"].value is None


@pytest.mark.parametrize(
    "change",
    [{"schema": "another/1"}, {"retrieval": None}, {"classifiers": [{}]}],
    ids=["schema", "no-retrieval", "no-method"],
)
def test_report_when_strange_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="evaluation report"):
        figures_of_report(a_report(**change), is_external=False)


def test_command_when_given_record_and_reports_writes_a_card_that_opens(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder_hash = encoder_hash_of_folder(folder)
    elsewhere = a_report(encoder_hash=encoder_hash, data_name="others", subgroups=[])
    words = written(
        folder, run=a_run(), report=a_report(encoder_hash=encoder_hash), external_report=elsewhere
    )
    assert main(words) == 0
    assert "of 31 attributes are available" in capsys.readouterr().out
    statements = OnnxImageEmbedder.from_folder(folder).source_attributes.statements
    assert "toy films" in statements["7.i"].text
    assert "others" in statements["7.iii"].text


def test_command_when_a_person_edited_the_card_seals_it(folder: Path) -> None:
    assert main(written(folder)) == 0
    path = folder / CARD_FILE
    card = json.loads(path.read_text())
    card["attributes"]["2.i"] = {"value": "Finding toys."}
    path.write_text(json.dumps(card))
    assert main(written(folder)) == 0
    card_now = OnnxImageEmbedder.from_folder(folder).source_attributes
    assert card_now.statements["2.i"].value == "Finding toys."


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"run": a_run(encoder="another")}, "run.json is about another encoder"),
        ({"report": a_report()}, "report.json is about another encoder"),
        ({"report": "{"}, "report.json is not JSON"),
        ({"report": "[]"}, "not a JSON object"),
        ({"run": {"encoder": "tiny"}}, "no measures"),
    ],
    ids=["other-run", "other-weights", "no-json", "no-object", "no-measures"],
)
def test_command_when_a_file_does_not_fit_says_so_and_writes_nothing(
    folder: Path, files: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(written(folder, **files)) != 0
    assert said in capsys.readouterr().err
    assert not (folder / CARD_FILE).exists()


def test_command_when_an_external_report_holds_a_trained_source_refuses(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = a_report(encoder_hash=encoder_hash_of_folder(folder))
    assert main(written(folder, external_report=report)) != 0
    assert "a source that was trained on: toys" in capsys.readouterr().err


def test_command_when_an_edited_card_is_broken_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(written(folder)) == 0
    (folder / CARD_FILE).write_text('{"attributes": 3}')
    assert main(written(folder)) != 0
    assert f"{CARD_FILE} cannot be read" in capsys.readouterr().err
