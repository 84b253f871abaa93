"""What was answered to hooks, and which cards users have seen, in the database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cds.adapters.crypto import FieldCipher
from cds.adapters.sql.door_models import CardShown, HookCall
from cds.adapters.sql.sealed_json import SealedJson
from cds.ports import Clock


class SqlHookCalls:
    """Keeps answers encrypted; implements `HookCalls` of the hooks' door.

    An insert that meets its own primary key changes nothing, so that of two simultaneous calls the
    first one's answer stays.
    """

    def __init__(self, engine: Engine, cipher: FieldCipher, clock: Clock) -> None:
        self._engine = engine
        self._answers = SealedJson(dict[str, Any], cipher, "hook_call.answer")
        self._clock = clock

    def answer_for(
        self, ehr_id: str, cds_service: str, hook_instance: str
    ) -> dict[str, Any] | None:
        """Return what was saved for this call, or None."""
        place = (ehr_id, cds_service, hook_instance)
        with Session(self._engine) as session:
            row = session.get(HookCall, place)
            return None if row is None else self._answers.unseal(row.answer, "/".join(place))

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
        place = (ehr_id, cds_service, hook_instance)
        self._insert(
            HookCall(
                ehr_id=ehr_id,
                cds_service=cds_service,
                hook_instance=hook_instance,
                answer=self._answers.seal(answer, "/".join(place)),
                silence_row=silence_row,
                created_at=self._clock.now(),
            )
        )

    def was_shown(self, ehr_id: str, user_key: str, analysis_key: str) -> bool:
        """Tell whether this user was shown a card under this key."""
        query = CardShown.__table__.select().where(
            CardShown.ehr_id == ehr_id,
            CardShown.user_key == user_key,
            CardShown.analysis_key == analysis_key,
        )
        with Session(self._engine) as session:
            return session.execute(query.limit(1)).first() is not None

    def mark_shown(
        self, ehr_id: str, user_key: str, analysis_key: str, *, silence_row: int
    ) -> None:
        """Remember that this user is shown a card; a second time changes nothing."""
        self._insert(
            CardShown(
                ehr_id=ehr_id,
                user_key=user_key,
                analysis_key=analysis_key,
                silence_row=silence_row,
                shown_at=self._clock.now(),
            )
        )

    def _insert(self, row: HookCall | CardShown) -> None:
        try:
            with Session(self._engine) as session, session.begin():
                session.add(row)
        except IntegrityError:
            return
