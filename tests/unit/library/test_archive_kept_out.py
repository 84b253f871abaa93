"""The list of people who are kept out, as a librarian writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds.domain.errors import CdsError, Reason
from cds.library.archive_kept_out import read_opt_out_list


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    return path


def test_list_when_read_gives_systems_and_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbf# objections\r\n\r\n 4711 \r\nurn:oid:2.999|A|7\r\n")
    assert read_opt_out_list(path) == ((None, "4711"), ("urn:oid:2.999|A", "7"))


@pytest.mark.parametrize(
    "content", [b"", b"# nobody\n", b"urn:oid:2.999|\n", b"\xff\xfe4"], ids=repr
)
def test_list_when_it_names_nobody_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CdsError) as refused:
        read_opt_out_list(written(tmp_path, content))
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_list_when_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CdsError, match="cannot be read"):
        read_opt_out_list(tmp_path / "none.txt")
