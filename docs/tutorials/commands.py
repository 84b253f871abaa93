"""Run `precedent ...` from a notebook and show what it prints, as a terminal would."""

import os
import re
import subprocess
import sys

_RUN = "import sys; from cds.cli.main import main; sys.exit(main())"
# A notebook's kernel asks for colours and moving bars, which a notebook shows as signs.
_OF_TERMINALS = ("CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR")


def run(*words, **environment):
    """Run a command; return what `subprocess.run` returns, output and errors apart."""
    kept = {name: value for name, value in os.environ.items() if name not in _OF_TERMINALS}
    return subprocess.run(
        [sys.executable, "-c", _RUN, *(str(word) for word in words)],
        env={**kept, "COLUMNS": "110", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def precedent(*words, **environment):
    """Run a command; return its exit status: 0 if it did what it was asked."""
    print("$ precedent", *words)
    done = run(*words, **environment)
    print(
        "\n".join(
            line for line in (done.stderr + done.stdout).splitlines() if not _is_half_way(line)
        )
    )
    return done.returncode


def _is_half_way(line):
    """Whether a line reports progress that a later one overtakes, as "Embedding: 3 of 160"."""
    found = re.fullmatch(r".*: (\d+) of (\d+)", line.strip())
    return bool(found) and found[1] != found[2]
