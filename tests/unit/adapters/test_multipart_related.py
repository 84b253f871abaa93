from __future__ import annotations

import pytest

from cds.adapters.multipart_related import parts_of
from cds.domain.errors import CdsError, Reason

BODY = b"--b1\r\nContent-Type: application/dicom\r\n\r\nabc\r\n--b1\r\n\r\nd\r\n\r\ne\r\n--b1--\r\n"


@pytest.mark.parametrize(
    "content_type",
    [
        pytest.param('multipart/related; type="application/dicom"; boundary=b1', id="plain"),
        pytest.param('multipart/related; boundary="b1"; type="application/dicom"', id="quoted"),
        pytest.param(
            'multipart/related; type="application/dicom; transfer-syntax=1.2"; boundary=b1',
            id="parameter-inside-the-quotes",
        ),
    ],
)
def test_parts_are_taken_apart_with_their_blank_lines_kept(content_type: str) -> None:
    assert parts_of(BODY, content_type) == (b"abc", b"d\r\n\r\ne")


def test_single_part_answer_is_its_own_part() -> None:
    assert parts_of(b"abc", "application/dicom") == (b"abc",)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(BODY[:-12], "multipart/related; boundary=b1", id="cut-off"),
        pytest.param(BODY, "multipart/related", id="no-boundary"),
        pytest.param(BODY, "multipart/related; boundary=b2", id="other-boundary"),
        pytest.param(b"", "multipart/related; boundary=b1", id="empty"),
    ],
)
def test_answer_that_is_not_whole_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(CdsError) as caught:
        parts_of(body, content_type)
    assert caught.value.reason == Reason.UPSTREAM_FAILED
