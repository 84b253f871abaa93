"""What was answered to which hook call, and which cards a user has seen."""

from __future__ import annotations

from typing import Any, Protocol


class HookCalls(Protocol):
    """Idempotence of calls, and the memory behind "once per user"."""

    def answer_for(
        self, ehr_id: str, cds_service: str, hook_instance: str
    ) -> dict[str, Any] | None:
        """Return what was saved for this call, or None."""
        ...

    def save(
        self,
        ehr_id: str,
        cds_service: str,
        hook_instance: str,
        *,
        answer: dict[str, Any],
        silence_row: int,
    ) -> None:
        """Keep an answer with the row of the silence table; the first of two saves stays."""
        ...

    def was_shown(self, ehr_id: str, user_key: str, analysis_key: str) -> bool:
        """Tell whether this user was shown a card under this key."""
        ...

    def mark_shown(
        self, ehr_id: str, user_key: str, analysis_key: str, *, silence_row: int
    ) -> None:
        """Remember that this user is shown a card; a second time changes nothing."""
        ...
