from __future__ import annotations

from datetime import UTC, datetime

from cds.domain.patient import BusinessIdentifier, ClinicalContext, Demographics
from cds.domain.query import CaseQuery

AS_OF = datetime(2026, 11, 2, 8, tzinfo=UTC)


def identifiers_of(ehr_id: str, *identifiers: BusinessIdentifier) -> frozenset[tuple[str, str]]:
    context = ClinicalContext(Demographics("1", identifiers=identifiers), read_at=AS_OF)
    query = CaseQuery(ehr_id=ehr_id, reason="cli", as_of=AS_OF, context=context, study=None)
    return query.identifiers()


def test_number_without_a_system_is_named_as_the_ehrs_own() -> None:
    assert ("urn:precedent:ehr:a", "4711") in identifiers_of("a", BusinessIdentifier("4711"))


def test_number_without_a_system_still_leaves_out_cases_that_have_none() -> None:
    assert ("", "4711") in identifiers_of("a", BusinessIdentifier("4711"))


def test_number_with_a_system_is_named_by_it_alone() -> None:
    named = identifiers_of("a", BusinessIdentifier("4711", "urn:oid:2.999"))
    assert named == {("urn:oid:2.999", "4711")}
