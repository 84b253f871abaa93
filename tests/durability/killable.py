"""Runs `precedent` commands in forked children and kills them at named points: a script.

One JSON document per line on the standard input, one answer per line on the standard output. The
parent imports everything once and computes nothing; each command runs in a child that is forked for
it, which is the real command line from `main` on. Points are counted calls: of `os.fsync`,
`os.replace`, `os.link`, `shutil.rmtree` and the database's commits, before or after the call.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from sqlalchemy.engine.default import DefaultDialect  # noqa: E402

import cds.engine  # noqa: E402, F401  # loaded once for every child
from cds.cli.main import main  # noqa: E402


class Points:
    """Counts the calls, and kills the process at the wanted one."""

    def __init__(self, wanted: dict[str, Any] | None, counts_file: Path) -> None:
        self._wanted = wanted or {}
        self._counts = Counter[str]()
        self._lock = threading.Lock()  # commands have threads of their own
        self._counts_file = counts_file

    def watch(self) -> None:
        for module, name in ((os, "fsync"), (os, "replace"), (os, "link"), (shutil, "rmtree")):
            setattr(module, name, self._watched(name, getattr(module, name)))
        commit = self._watched("commit", DefaultDialect.do_commit)
        setattr(DefaultDialect, "do_commit", commit)  # noqa: B010  # as for the functions above

    def write_counts(self) -> None:
        self._counts_file.write_text(json.dumps(self._counts))

    def _watched(self, name: str, call):
        def watched(*arguments, **named):
            with self._lock:
                self._counts[name] += 1
                n = self._counts[name]
            self._reach(name, n, "before")
            result = call(*arguments, **named)
            self._reach(name, n, "after")
            return result

        return watched

    def _reach(self, name: str, n: int, side: str) -> None:
        if {"call": name, "n": n, "side": side} == self._wanted:
            os.kill(os.getpid(), signal.SIGKILL)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run one command in a child; kill it after a time if it is wanted so."""
    counts = Path(request["log"]).with_suffix(".counts")
    counts.unlink(missing_ok=True)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(request, counts)
    timer = None
    if request.get("after_s") is not None:
        timer = threading.Timer(request["after_s"], os.kill, (child, signal.SIGKILL))
        timer.start()
    _, status = os.waitpid(child, 0)
    if timer is not None:
        timer.cancel()
    return {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - started,
        "counts": json.loads(counts.read_text()) if counts.exists() else {},
    }


def _become(request: dict[str, Any], counts: Path) -> None:
    """Be the command: own output, own environment, own end."""
    status = 70
    try:
        log = os.open(request["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(request["environment"])
        points = Points(request.get("point"), counts)
        points.watch()
        status = main(request["arguments"])
        points.write_counts()
        sys.stdout.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
        sys.stdout.flush()
