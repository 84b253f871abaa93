"""The record beside a picture is read as described, or refused: never left out in silence."""

from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from cds.cli.match import print_report, record_from_json
from cds.domain.errors import CdsError, Reason
from tests.builders.report import a_report

AS_OF = datetime(2026, 11, 12, 6, 41, tzinfo=UTC)


def test_record_when_it_is_as_described_is_read() -> None:
    text = '{"age": 67, "labs": [{"code": "1988-5", "value": 165, "unit": "mg/L"}]}'
    context = record_from_json(text, as_of=AS_OF)
    assert [(m.code, m.value) for m in context.measurements] == [("1988-5", 165.0)]


@pytest.mark.parametrize("text", ['{"C-reactive protein": 120}', "{}", "[]", "5", "no JSON"])
def test_record_when_nothing_of_it_would_be_read_is_refused(text: str) -> None:
    with pytest.raises(CdsError) as refused:
        record_from_json(text, as_of=AS_OF)
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_answer_when_printed_in_80_columns_keeps_its_headings_whole() -> None:
    out = StringIO()
    print_report(a_report(), Console(file=out, width=80))
    for heading in ("together", "picture", "patient", "findings", "outcome"):
        assert heading in out.getvalue()
