"""Since when the pictures of an EHR cannot be reached."""

from __future__ import annotations

import threading
from datetime import datetime


class Outages:
    """What this process has seen; another worker process may have seen the outage begin later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: dict[str, datetime] = {}

    def failed(self, ehr_id: str, at: datetime) -> datetime:
        """Note a failure and return the aware time of the first one of this outage."""
        with self._lock:
            return self._since.setdefault(ehr_id, at)

    def worked(self, ehr_id: str) -> None:
        """Note that pictures were reached: the outage, if there was one, is over."""
        with self._lock:
            self._since.pop(ehr_id, None)
