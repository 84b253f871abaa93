"""Which SMART scopes grant which right."""

import pytest

from cds.web.scopes import levels_granting


@pytest.mark.parametrize(
    ("scopes", "right", "levels"),
    [
        pytest.param("patient/DiagnosticReport.rs", "r", {"patient"}, id="v2-read"),
        pytest.param("patient/DiagnosticReport.rs", "s", {"patient"}, id="v2-search"),
        pytest.param("patient/DiagnosticReport.r", "s", set(), id="v2-read-is-no-search"),
        pytest.param("patient/DiagnosticReport.s", "r", set(), id="v2-search-is-no-read"),
        pytest.param("patient/DiagnosticReport.cruds", "s", {"patient"}, id="v2-all"),
        pytest.param("patient/DiagnosticReport.read", "s", {"patient"}, id="v1-read"),
        pytest.param("patient/DiagnosticReport.write", "r", set(), id="v1-write"),
        pytest.param("patient/*.read", "r", {"patient"}, id="v1-any-type"),
        pytest.param("patient/DiagnosticReport.*", "r", {"patient"}, id="v1-any-right"),
        pytest.param("user/*.rs patient/*.rs", "r", {"user", "patient"}, id="two-levels"),
        pytest.param("system/*.rs", "s", {"system"}, id="system"),
        pytest.param("patient/Observation.rs", "r", set(), id="other-type"),
        pytest.param("patient/DiagnosticReport.sr", "r", set(), id="out-of-order"),
        pytest.param("patient/DiagnosticReport.", "r", set(), id="no-letters"),
        pytest.param("patient/DiagnosticReport.rs?category=x", "r", set(), id="narrowed"),
        pytest.param("launch openid fhirUser", "r", set(), id="no-data"),
        pytest.param("Patient/DiagnosticReport.rs", "r", set(), id="case"),
        pytest.param("", "r", set(), id="empty"),
    ],
)
def test_levels_when_scopes_are_given_are_those_that_grant(
    scopes: str, right: str, levels: set[str]
) -> None:
    found = levels_granting(scopes, "DiagnosticReport", right)
    assert {level.value for level in found} == levels
