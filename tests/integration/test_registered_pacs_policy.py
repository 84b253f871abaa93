from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine, update

from cds.adapters.crypto import FieldCipher
from cds.adapters.registrations import SqlRegistrations
from cds.adapters.sql.engine import open_database, upgrade_to_head
from cds.adapters.sql.models import EhrRegistrationRow
from cds.domain.pacs_policy import PacsPolicy
from cds.domain.registration import EhrRegistration
from tests.builders.registration import a_registration
from tests.fakes.clock import FixedClock


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_database(f"sqlite:///{tmp_path / 'registrations.db'}")
    upgrade_to_head(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def registrations(engine: Engine) -> SqlRegistrations:
    return SqlRegistrations(engine, FieldCipher({"d1": b"c" * 32}, "d1"), FixedClock())


def test_policy_when_registered_comes_back_as_it_was(registrations: SqlRegistrations) -> None:
    policy = PacsPolicy(
        max_parallel=1,
        requests_per_s=0.5,
        bulk_pauses=("mon-fri 07:00-19:00",),
        time_zone="Europe/Berlin",
    )
    registration = a_registration(pacs_policy=policy, pacs_time_zone="Europe/Berlin")
    registrations.save(registration)
    assert registrations.by_id("a") == registration


def test_registration_of_an_earlier_version_gets_the_defaults(
    registrations: SqlRegistrations, engine: Engine
) -> None:
    registrations.save(a_registration())
    earlier = (
        '{"ehr_id": "a", "name": "A", "fhir_base_url": "https://ehr.example.invalid/fhir", '
        '"client_id": "precedent"}'
    )
    with engine.begin() as connection:
        connection.execute(update(EhrRegistrationRow).values(settings=earlier))
    found = registrations.by_id("a")
    assert found is not None
    assert (found.pacs_policy, found.pacs_time_zone) == (PacsPolicy(), None)


def test_policy_when_a_limit_is_misspelt_is_refused() -> None:
    adapter = TypeAdapter(EhrRegistration)
    values = {"ehr_id": "a", "name": "A", "fhir_base_url": "x", "client_id": "c"}
    for policy in ({"request_per_s": 1}, {"max_parallel": 0}, {"bulk_pauses": ["by day"]}):
        with pytest.raises(ValidationError):
            adapter.validate_python({**values, "pacs_policy": policy})
