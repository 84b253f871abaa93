"""Public keys of CDS clients: fetched from the registered address only, remembered for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from cds.domain.errors import CdsError, Reason
from cds.domain.registration import CdsClient, EhrRegistration
from cds.ports import Deadline
from cds.web.engine_surface import MachineEngine

FRESH_S = 300.0  # within it the remembered set is used without asking
STALE_S = 3600.0  # within it the remembered set serves while the client's server is down
REFETCH_S = 10.0  # an unknown kid makes us ask again, but not more often than this


@dataclass(frozen=True, slots=True)
class _Remembered:
    keys: tuple[Mapping[str, Any], ...]
    fetched_at_s: float
    tried_at_s: float


class KeySets:
    """The key sets of one process, by EHR and address.

    Parameters
    ----------
    clock
        Monotonic seconds.

    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered: dict[tuple[str, str], _Remembered] = {}

    def keys_with_id(
        self,
        engine: MachineEngine,
        registration: EhrRegistration,
        client: CdsClient,
        kid: str,
        *,
        deadline: Deadline,
    ) -> tuple[Mapping[str, Any], ...]:
        """Return the client's public keys that have this id; an unknown id is looked up once more.

        Raises
        ------
        CdsError
            NOT_AUTHENTICATED if the key set can neither be fetched nor remembered.

        """
        if client.jwks_json is not None:
            return _with_id(_keys_of(orjson.loads(client.jwks_json)), kid)
        if client.jku is None:
            raise CdsError(
                Reason.NOT_AUTHENTICATED, "No key set is registered for this CDS client."
            )
        place = (registration.ehr_id, client.jku)
        remembered = self._remembered.get(place)
        now = self._clock()
        found = _with_id(remembered.keys, kid) if remembered else ()
        if remembered and found and now - remembered.fetched_at_s < FRESH_S:
            return found
        if remembered and now - remembered.tried_at_s < REFETCH_S:
            return found
        return _with_id(self._fetched(engine, registration, client.jku, deadline), kid)

    def _fetched(
        self, engine: MachineEngine, registration: EhrRegistration, jku: str, deadline: Deadline
    ) -> tuple[Mapping[str, Any], ...]:
        place, now = (registration.ehr_id, jku), self._clock()
        try:
            keys = _keys_of(engine.key_set(registration, jku, deadline=deadline))
        except CdsError:
            with self._lock:
                old = self._remembered.get(place)
                if old is not None and now - old.fetched_at_s < STALE_S:
                    self._remembered[place] = _Remembered(old.keys, old.fetched_at_s, now)
                    return old.keys
            raise CdsError(
                Reason.NOT_AUTHENTICATED,
                "The key set of this CDS client could not be fetched; the token cannot be checked.",
            ) from None
        with self._lock:
            self._remembered[place] = _Remembered(keys, now, now)
        return keys


def _keys_of(document: object) -> tuple[Mapping[str, Any], ...]:
    keys = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(keys, list):
        return ()
    return tuple(key for key in keys if isinstance(key, dict))


def _with_id(keys: tuple[Mapping[str, Any], ...], kid: str) -> tuple[Mapping[str, Any], ...]:
    return tuple(key for key in keys if key.get("kid") == kid and key.get("use", "sig") == "sig")
