from __future__ import annotations

from tests.builders.answers import EHR_ID
from tests.fakes.machine_door import MachineDoor


def test_key_set_when_fetched_is_public_and_may_be_kept_for_a_while() -> None:
    door = MachineDoor()
    door.engine.backend_keys[EHR_ID] = [{"kty": "EC", "kid": "k1"}]
    answer = door.http.get(f"/t/{EHR_ID}/jwks.json")
    assert answer.status_code == 200
    assert answer.get_json() == {"keys": [{"kty": "EC", "kid": "k1"}]}
    assert answer.content_type == "application/json"
    assert answer.headers["Cache-Control"] == "public, max-age=300"


def test_key_set_when_the_ehr_is_unknown_is_not_found() -> None:
    assert MachineDoor().http.get("/t/nobody/jwks.json").status_code == 404
