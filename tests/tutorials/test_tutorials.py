"""The notebooks of docs/tutorials run from end to end, and are stored without results."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

from deploy.tree_check import complaints

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
LIMIT_S = 600  # a hanging kernel is an error; how long it takes decides nothing


def run(notebook: Path, executed: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a notebook in a process of its own, so that its sockets and warnings are its own."""
    return subprocess.run(
        [sys.executable, "-m", "tests.tutorials.run_notebook", str(notebook), str(executed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def printed(executed: Path) -> str:
    """Return everything that the cells printed."""
    cells = nbformat.read(executed, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


def n_plots(executed: Path) -> int:
    cells = nbformat.read(executed, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_tutorials_when_listed_are_there() -> None:
    assert NOTEBOOKS
    page = (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8")
    assert [one.name for one in NOTEBOOKS if f"tutorials/{one.name}" not in page] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda one: one.stem)
def test_notebook_when_stored_is_valid_and_holds_no_output(notebook: Path) -> None:
    nbformat.validate(nbformat.read(notebook, as_version=4))
    assert list(complaints(notebook.name, notebook.read_bytes())) == []


def test_chest_or_abdomen_when_run_measures_what_it_promises(
    shared_dir: Path, tmp_path: Path
) -> None:
    executed = tmp_path / "executed.ipynb"
    done = run(
        TUTORIALS / "chest-or-abdomen.ipynb", executed, PRECEDENT_SHARED=str(shared_dir.resolve())
    )
    assert done.returncode == 0, done.stderr[-2000:]
    text = printed(executed)

    assert "{'abdomen': 37, 'chest': 38}" in text
    assert "75 files, 74 different pictures" in text  # one film is there twice
    assert "frozen MobileNetV2: 75 of 75 right = 1.000 (95 % interval 0.951 to 1.000)" in text
    baseline = re.findall(r"\| frozen MobileNetV2: all changed (\d+) of 75", text)
    assert len(baseline) == 6
    assert {int(count) for count in baseline} == {75}  # inverted and re-compressed, too
    shipped = re.search(r"^precedent-\S+: (\d+) of 75 right", text, re.MULTILINE)
    assert shipped
    assert int(shipped[1]) >= 72
    assert "proportion of the sides alone: 74 of 75" in text  # the shortcut is there to be seen
    assert n_plots(executed) >= 5


@pytest.mark.skipif(
    find_spec("cds.cli.models_evaluate") is None or find_spec("seaborn") is None,
    reason="`precedent models evaluate` and its extra are not here.",
)
def test_reading_a_report_when_run_finds_the_planted_shortcut(tmp_path: Path) -> None:
    executed = tmp_path / "executed.ipynb"
    done = run(TUTORIALS / "reading-an-evaluation-report.ipynb", executed)
    assert done.returncode == 0, done.stderr[-2000:]
    text = printed(executed)
    assert "n_query_patients: 80" in text
    trap, fair = text.split("--- trap")[1].split("--- fair")
    assert "likely shortcut" in trap.partition("source: ")[2].partition("\n")[0]
    assert "source: " in fair
    assert n_plots(executed) >= 3


def test_adapting_when_run_gains_from_labels_that_mean_something_only(tmp_path: Path) -> None:
    executed = tmp_path / "executed.ipynb"
    done = run(TUTORIALS / "adapt-to-your-site.ipynb", executed)
    assert done.returncode == 0, done.stderr[-2000:]
    text = printed(executed)
    gain = re.search(r"P@5 .* gain \+0\.\d+ \(\+(0\.\d+) to", text)
    assert gain
    assert float(gain[1]) > 0.0
    assert "fitted on 120 patients" in text
    shares = dict(re.findall(r"^(before|after): .* compared, (\d\.\d+) of", text, re.MULTILINE))
    assert float(shares["after"]) > float(shares["before"])
    assert "No candidate is shown to be better than the encoder's own vectors." in text
    assert "\x1b[" not in text
    assert n_plots(executed) == 1


def test_chest_or_abdomen_when_there_are_no_pictures_says_where_to_get_them(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a" / "b" / "c" / "d"
    folder.mkdir(parents=True)
    notebook = Path(shutil.copy(TUTORIALS / "chest-or-abdomen.ipynb", folder))
    done = run(notebook, tmp_path / "executed.ipynb", PRECEDENT_SHARED=str(tmp_path / "none"))
    assert done.returncode != 0
    assert "The pictures are not here yet: see the two steps above." in done.stderr
