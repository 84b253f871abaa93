"""The notebook on transfer learning runs from end to end; it needs torch, so it is tested here."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.tutorials.test_tutorials import TUTORIALS, printed, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(
    find_spec("cds.cli.models_train") is None, reason="`precedent models train` is not here."
)
def test_transfer_learning_when_run_refuses_the_leak_and_trains(tmp_path: Path) -> None:
    executed = tmp_path / "executed.ipynb"
    done = run(TUTORIALS / "transfer-learning.ipynb", executed)
    assert done.returncode == 0, done.stderr[-2000:]
    text = printed(executed)
    assert "exit status: 0" not in text  # the planted leak
    assert "state: finished" in text
    assert "drawn-1 (8, 256)" in text
