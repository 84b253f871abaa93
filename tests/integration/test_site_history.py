"""What an installation has seen of an EHR, read from a real database."""

from __future__ import annotations

from pathlib import Path

from cds.adapters.probes.site_history import site_history
from cds.adapters.storage import initialise, open_storage
from cds.ports import AuditEvent
from cds.settings import Settings


def test_calls_and_launches_are_read_from_the_audit_trail_of_this_ehr(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    initialise(settings)
    storage = open_storage(settings)
    for ehr_id, action, detail in (
        ("a", "hook.answered", "row=7 card=ready ms=120"),
        ("a", "hook.answered", "row=7 card=ready"),  # of a version that did not time it
        ("a", "login", "study=app-context frame=yes"),
        ("a", "login", "study=none frame=no"),
        ("a", "launch.refused", "frame=yes"),
        ("a", "login", None),
        ("b", "hook.answered", "row=7 card=ready ms=999"),
        ("b", "login", "study=app-context frame=yes"),
    ):
        storage.audit.record(AuditEvent(ehr_id, action, "success", detail=detail))
    found = site_history(storage.engine, "a")
    storage.engine.dispose()
    assert found.hook_ms == (120,)
    assert found.launches == {
        "study=app-context": 1,
        "study=none": 1,
        "frame=yes": 1,
        "frame=no": 1,
        "refused frame=yes": 1,
    }
