"""Files that are whole or not there, with and without nameless files."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest

from cds.adapters.atomic_files import write_whole

CONTENT = b"picture" * 1_000


@pytest.fixture(params=["nameless", "renamed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "renamed":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("This system has no nameless files.")
    return str(request.param)


def test_file_when_written_is_whole_for_its_owner_only_and_alone(tmp_path: Path, way: str) -> None:
    write_whole(tmp_path / "a", CONTENT)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_file_when_written_again_is_as_good_as_before(tmp_path: Path, way: str) -> None:
    for _ in range(2):
        write_whole(tmp_path / "a", CONTENT)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_file_when_it_finds_no_room_is_not_there_at_all(tmp_path: Path, way: str) -> None:
    child = multiprocessing.get_context("fork").Process(
        target=_write_without_room, args=(tmp_path / "a",)
    )
    child.start()
    child.join(30)
    assert child.exitcode == 27  # EFBIG
    assert list(tmp_path.iterdir()) == []


def _write_without_room(path: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    try:
        write_whole(path, CONTENT)
    except OSError as error:
        os._exit(error.errno or 1)
    os._exit(0)


def test_folder_when_missing_is_an_error(tmp_path: Path, way: str) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "a", CONTENT)
