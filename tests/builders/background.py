"""Waits for what the product does in threads of its own."""

from __future__ import annotations

import threading


def wait_for_repairs() -> None:
    """Return when no index is being repaired any more, so that connections can be closed."""
    for thread in threading.enumerate():
        if thread.name == "index-repair":
            thread.join()
