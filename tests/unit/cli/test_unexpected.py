"""What a command says of an error that nobody foresaw."""

from __future__ import annotations

import argparse
from typing import NoReturn

import pytest

from cds.cli import jobs
from cds.cli.main import EXIT_UNEXPECTED, main


def fails(_arguments: argparse.Namespace) -> NoReturn:
    try:
        int("MRN-SEEDED-1")
    except ValueError as error:
        raise RuntimeError("no such patient: Seeded, Person") from error
    raise AssertionError


def test_unexpected_error_is_named_by_class_and_place_and_never_by_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jobs, "list_jobs", fails)
    assert main(["jobs", "list"]) == EXIT_UNEXPECTED
    said = capsys.readouterr()
    assert "RuntimeError" in said.err
    assert "test_unexpected.py:" in said.err
    assert "in fails" in said.err
    assert "seeded" not in (said.out + said.err).casefold()
