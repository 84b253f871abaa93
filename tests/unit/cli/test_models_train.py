"""`precedent models train` where torch is missing, and what its options become."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from cds.cli import models_train
from cds.domain.errors import CdsError, Reason
from models.training import recipe

ROOT = Path(__file__).resolve().parents[3]


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    models_train.add_parser(parser.add_subparsers())
    return parser.parse_args(["train", "--out", "x", *words])


def test_training_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_train, "find_spec", lambda _name: None)
    arguments = parsed("pictures")

    with pytest.raises(CdsError, match=r"pip install 'precedent-cds\[train\]'") as refused:
        arguments.run(arguments)

    assert refused.value.reason is Reason.INVALID_CONFIGURATION


def test_help_when_asked_for_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom cds.cli.main import main\n"
        "try:\n    main(['models', 'train', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'sklearn', 'sqlalchemy'} & sys.modules.keys()\n"
        "sys.exit(f'loaded {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert "--self-supervised-epochs" in done.stdout


def test_choices_when_offered_are_those_of_the_recipe() -> None:
    assert recipe.BALANCES == models_train.BALANCES
    assert recipe.NORMALISATIONS == models_train.NORMALISATIONS


@pytest.mark.parametrize(
    "words", [[], ["pictures", "--library"], ["--library", "--shared-permissive", "data"]]
)
def test_pictures_when_not_given_exactly_once_are_refused(words: list[str]) -> None:
    with pytest.raises(CdsError, match="Give one of"):
        models_train.rows_of(parsed(*words))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--library", "--keep-split"], "--keep-split goes with a folder only"),
        (["pictures", "--collection", "x"], "--collection goes with --library only"),
    ],
    ids=["split", "collection"],
)
def test_option_of_other_pictures_is_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(CdsError, match=sentence):
        models_train.rows_of(parsed(*words))


def test_recipe_when_options_and_file_differ_follows_the_options(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("n_epochs = 4\nbatch_size = 24\n", encoding="utf-8")

    made = models_train.recipe_of(
        parsed("pictures", "--recipe", str(path), "--epochs", "6"), keeps_projection=True
    )

    assert (made.n_epochs, made.batch_size) == (6, 24)
    assert (made.n_stored_views, made.n_frozen_blocks, made.patience) == (0, 0, 5)
    assert made.keeps_projection


def test_recipe_when_blocks_are_frozen_stores_views() -> None:
    made = models_train.recipe_of(
        parsed("pictures", "--freeze-blocks", "11", "--with-validation"), keeps_projection=False
    )

    assert (made.n_frozen_blocks, made.patience) == (11, 0)
    assert made.n_stored_views > 0
