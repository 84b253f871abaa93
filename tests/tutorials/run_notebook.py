"""Run a notebook in its own folder; the executed copy goes elsewhere, never over the stored one.

python -m tests.tutorials.run_notebook docs/tutorials/chest-or-abdomen.ipynb /tmp/executed.ipynb
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

CELL_TIMEOUT_S = 600


def main() -> int:
    """Run the notebook; a cell that fails ends it with its traceback."""
    notebook, executed = (Path(argument) for argument in sys.argv[1:3])
    content = nbformat.read(notebook, as_version=4)
    client = NotebookClient(
        content,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(notebook.parent)}},
    )
    try:
        client.execute()
    finally:
        nbformat.write(content, executed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
