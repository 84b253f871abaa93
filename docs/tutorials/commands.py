"""Run `precedent ...` from a notebook and show what it prints, as a terminal would."""

import os
import re
import subprocess
import sys

_RUN = "import sys; from cds.cli.main import main; sys.exit(main())"


def precedent(*words, **environment):
    """Run a command; return its exit status: 0 if it did what it was asked."""
    words = [str(word) for word in words]
    print("$ precedent", *words)
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *words],
        env={**os.environ, "COLUMNS": "110", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print("\n".join(line for line in done.stdout.splitlines() if not _is_half_way(line)))
    return done.returncode


def _is_half_way(line):
    """Whether a line reports progress that a later one overtakes, as "Embedding: 3 of 160"."""
    found = re.fullmatch(r".*: (\d+) of (\d+)", line.strip())
    return bool(found) and found[1] != found[2]
