"""Outages on demand: the PACS or the FHIR store may be switched off or made to hang."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import StrEnum

HANG_S = 20.0


class ServerState(StrEnum):
    """How a server behaves."""

    UP = "up"
    DOWN = "down"
    HANG = "hang"


@dataclass(slots=True)
class Switch:
    """The state of one server; `is_refusing` blocks while the server hangs."""

    state: ServerState = ServerState.UP
    _changed: threading.Event = field(default_factory=threading.Event)

    def turn(self, state: ServerState) -> None:
        """Change the state and release whoever hangs."""
        self.state = state
        self._changed.set()
        self._changed = threading.Event()

    def is_refusing(self) -> bool:
        """Tell whether the request at hand must be answered 503."""
        if self.state is ServerState.HANG:
            self._changed.wait(HANG_S)
        return self.state is not ServerState.UP
