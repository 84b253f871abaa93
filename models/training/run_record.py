"""`run.json`: what a training run was made of and what it gave, written again after each epoch."""

from __future__ import annotations

import json
import math
import platform
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.training.cleaning import CleanPictures
    from models.training.comparison import Measures
    from models.training.splits import Split

RECORD_FILE = "run.json"
_FORMAT_VERSION = 1
_LIBRARIES = ("torch", "numpy", "onnx", "onnxruntime", "pillow", "scikit-learn")
_GIT_TIMEOUT_S = 10


class RunRecord:
    """The record of one run, on disk from its first minute.

    It names the pictures: keep it where the pictures are, apart from the encoder.

    Parameters
    ----------
    path
        Where it is written, whole or not at all.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = time.monotonic()
        self._earlier_s = 0.0
        self.content: dict[str, Any] = {
            "format_version": _FORMAT_VERSION,
            "state": "running",
            "software": software_versions(),
            "epochs": [],
        }

    def go_on(self) -> None:
        """Take over the epochs and the time of an interrupted run, if its record is there."""
        try:
            earlier = json.loads(self._path.read_text(encoding="utf-8"))
            self.content["epochs"] = list(earlier["epochs"])
            self._earlier_s = float(earlier["wall_s"])
        except (OSError, ValueError, KeyError, TypeError):
            return

    def add_epoch(self, epoch: int, **figures: float | None) -> None:
        """Note an epoch; one that is repeated after an interruption takes its old place."""
        others = [one for one in self.content["epochs"] if one["epoch"] < epoch]
        self.content["epochs"] = [*others, {"epoch": epoch, **figures}]
        self.write()

    def write(self, **facts: object) -> None:
        """Add facts and write the file."""
        self.content.update(facts)
        self.content["wall_s"] = round(self._earlier_s + time.monotonic() - self._began, 1)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(".part")
        text = json.dumps(_without_nan(self.content), indent=1, sort_keys=True, allow_nan=False)
        beside.write_text(text + "\n", encoding="utf-8")
        beside.replace(self._path)


def described_pictures(pictures: CleanPictures, split: Split) -> dict[str, Any]:
    """Return what the record says of the pictures: hashes, sides, copies, what was left out."""
    side_of = {
        int(index): side
        for side in ("train", "validation", "test")
        for index in getattr(split, side)
    }
    names = [row.name for row in pictures.rows]
    return {
        "sha256": pictures.content_hash,
        "pictures": [
            {"name": name, "sha256": sha256, "side": side_of[index]}
            for index, (name, sha256) in enumerate(zip(names, pictures.sha256, strict=True))
        ],
        "near_duplicates": [[names[a], names[b]] for a, b in pictures.near_duplicates],
        "left_out": [{"name": one.name, "reason": one.reason} for one in pictures.left_out],
    }


def described_measures(measures: Measures) -> dict[str, Any]:
    """Return estimates as JSON."""
    return {
        place: {
            name: {"value": one.value, "low": one.low, "high": one.high}
            for name, one in values.items()
        }
        for place, values in measures.items()
    }


def software_versions() -> dict[str, str]:
    """Return the versions of this program, its source, Python and the libraries that compute."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("precedent-cds", *_LIBRARIES):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    revision = _git_revision(Path(__file__).resolve().parents[2])
    return {**versions, "git_revision": revision} if revision else versions


def _git_revision(root: Path) -> str:
    """Return the commit of a checkout, with ``-dirty`` after changes; nothing elsewhere."""
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return ""
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(  # noqa: S603  # fixed words and our own folder
            command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _without_nan(value: Any) -> Any:  # noqa: ANN401  # whatever JSON holds
    """Replace numbers that are none, which JSON does not know, by null."""
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
