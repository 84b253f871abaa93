"""One suite for every FHIR reader: over REST, and in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from cds.adapters.egress import EgressClients
from cds.adapters.fhir_rest import RestFhirReader
from cds.domain.errors import CdsError, Reason
from cds.domain.patient import ClinicalContext
from cds.domain.secrecy import SecretText
from cds.domain.time_limit import TimeLimit
from cds.fhir.record_queries import PATIENT_KEY, RECORD_QUERIES
from cds.hooks.discovery import SIMILAR_CASES
from cds.ports import FhirAccess, FhirReader
from tests.builders.fhir import (
    PATIENT_ID,
    a_bundle,
    a_condition,
    a_patient,
    an_imaging_study,
    an_observation,
)
from tests.builders.registration import a_registration
from tests.fakes.clock import FixedClock
from tests.fakes.fhir_reader import FakeFhirReader
from tests.fakes.fhir_server import TOKEN, FhirServer
from tests.fakes.http_server import a_server

RESOURCES = (a_patient(), a_condition(), an_observation(), an_imaging_study())
AS_OF = datetime(2026, 1, 6, 12, 0, tzinfo=UTC)
Read = Callable[..., ClinicalContext]


@pytest.fixture(params=["rest", "fake"])
def read(request: pytest.FixtureRequest) -> Iterator[Read]:
    with ExitStack() as stack:
        reader: FhirReader
        registration = a_registration()
        if request.param == "rest":
            server = stack.enter_context(a_server(FhirServer(*RESOURCES)))
            registration = a_registration(
                fhir_base_url=f"{server.url}/fhir", permitted_networks=("127.0.0.0/8",)
            )
            reader = RestFhirReader(EgressClients(development=True), clock=FixedClock())
        else:
            reader = FakeFhirReader(*RESOURCES, clock=FixedClock())

        def reading(
            prefetch: dict[str, Any] | None = None, *, has_token: bool = True
        ) -> ClinicalContext:
            token = SecretText(TOKEN) if has_token else None
            return reader.read_context(
                FhirAccess(registration, token, PATIENT_ID),
                prefetch=prefetch,
                deadline=TimeLimit(10),
                as_of=AS_OF,
            )

        yield reading


def test_record_is_read_with_a_token(read: Read) -> None:
    context = read()
    assert context.demographics.patient_id == PATIENT_ID
    assert [m.code for m in context.measurements] == ["1988-5"]
    assert [flag.coding.code for flag in context.history] == ["84114007"]
    assert [study.accession_number for study in context.studies] == ["A-1"]
    assert context.read_at == FixedClock().now()
    assert context.missing == ()


def test_null_means_that_there_is_nothing(read: Read) -> None:
    assert read({"observations": None}).measurements == ()


def test_prefetched_data_is_used_instead_of_the_ehr(read: Read) -> None:
    context = read({"observations": a_bundle(an_observation(value=7))})
    assert [m.value for m in context.measurements] == [7.0]


def test_parts_not_sent_are_named_without_a_token(read: Read) -> None:
    context = read({"patient": a_patient()}, has_token=False)
    assert "Observation: not sent by the EHR." in context.missing
    assert context.studies == ()


def test_patient_that_cannot_be_had_is_missing_context(read: Read) -> None:
    with pytest.raises(CdsError) as caught:
        read({}, has_token=False)
    assert caught.value.reason == Reason.MISSING_CONTEXT


def test_prefetch_about_another_patient_is_an_identity_mismatch(read: Read) -> None:
    other = an_observation(subject={"reference": "Patient/someone-else"})
    with pytest.raises(CdsError) as caught:
        read({"observations": a_bundle(other)})
    assert caught.value.reason == Reason.IDENTITY_MISMATCH


def test_discovery_asks_for_exactly_the_keys_that_the_reader_understands() -> None:
    assert set(SIMILAR_CASES.prefetch) == {PATIENT_KEY, *(q.key for q in RECORD_QUERIES)}
    for query in RECORD_QUERIES:
        assert SIMILAR_CASES.prefetch[query.key].startswith(f"{query.resource_type}?")
