"""A run that is killed and resumed ends with the weights of an undisturbed one."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.training.checkpoints import Checkpoint, CheckpointError
from tests.train.tiny_run import RECIPE, an_encoder, weights_after

ROOT = Path(__file__).resolve().parents[2]


def killed(checkpoint: Path, epoch: int) -> int:
    command = [sys.executable, "-m", "tests.train.tiny_run", str(checkpoint), str(epoch)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


@pytest.mark.parametrize("epoch", [-1, 0, 2], ids=["warm-up", "projection", "fine-tune"])
def test_run_when_killed_and_resumed_gives_the_same_weights(tmp_path: Path, epoch: int) -> None:
    checkpoint = tmp_path / "checkpoint.npz"
    assert killed(checkpoint, epoch) == -signal.SIGKILL

    reached = Checkpoint.read(checkpoint)
    resumed = weights_after(RECIPE, checkpoint)

    undisturbed = weights_after(RECIPE)
    assert reached is not None
    assert resumed.keys() == undisturbed.keys()
    assert all(np.array_equal(resumed[name], undisturbed[name]) for name in resumed)


def test_early_stopping_when_a_later_epoch_is_worse_keeps_the_best(tmp_path: Path) -> None:
    patient = dataclasses.replace(RECIPE, patience=1, n_self_supervised_epochs=0)

    stopped = weights_after(patient, tmp_path / "checkpoint.npz")

    reached = Checkpoint.read(tmp_path / "checkpoint.npz")
    assert reached is not None
    assert reached.facts["epoch"] == 2  # of three
    best = reached.tensors("best")
    assert all(np.array_equal(stopped[name], value.numpy()) for name, value in best.items())
    again = weights_after(patient, tmp_path / "checkpoint.npz")
    assert all(np.array_equal(stopped[name], again[name]) for name in stopped)


def test_early_stopping_when_the_projection_alone_is_best_keeps_the_network() -> None:
    patient = dataclasses.replace(RECIPE, patience=1, n_self_supervised_epochs=0)

    kept = weights_after(patient, best_epoch=0)

    untouched = an_encoder().network.state_dict()
    assert all(np.array_equal(kept[f"network.{n}"], v.numpy()) for n, v in untouched.items())


def test_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.npz"
    short = dataclasses.replace(RECIPE, n_epochs=1, n_self_supervised_epochs=0)
    weights_after(short, checkpoint)

    with pytest.raises(CheckpointError, match="another recipe"):
        weights_after(dataclasses.replace(short, seed=9), checkpoint)


def test_checkpoint_when_cut_short_is_refused_and_a_part_beside_it_is_not_read(
    tmp_path: Path,
) -> None:
    checkpoint = tmp_path / "checkpoint.npz"
    Checkpoint({"epoch": 1}).write(checkpoint)
    checkpoint.with_suffix(".part").write_bytes(b"PK")
    whole = Checkpoint.read(checkpoint)
    assert whole is not None
    assert whole.facts == {"epoch": 1}

    checkpoint.write_bytes(checkpoint.read_bytes()[:-30])

    with pytest.raises(CheckpointError, match="damaged"):
        Checkpoint.read(checkpoint)


def test_checkpoint_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert Checkpoint.read(tmp_path / "checkpoint.npz") is None
