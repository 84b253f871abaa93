"""Options of an import that do not fit its source are refused, not passed over."""

from pathlib import Path

import pytest

from cds.cli.main import EXIT_REFUSED, main

LIBRARIAN = ("--librarian", "Dr. Lib", "--legal-basis", "ethics vote 12/2026")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--dry-run"], "--dry-run"),
        (["--opt-out", "objections.txt", "--from", "2026-01-01"], "--from, --opt-out"),
        (["--follow-up-until", "2026-01-01"], "--follow-up-until"),
    ],
)
def test_import_of_files_when_an_option_is_for_archives_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    assert main(["library", "import", str(tmp_path), *options]) == EXIT_REFUSED
    assert f"knows {named}; nothing was imported." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (["films"], "the folder"),
        (["--table", "a.csv", "--columns", "m.toml"], "--table, --columns"),
    ],
)
def test_import_when_files_and_archives_are_named_is_refused(
    capsys: pytest.CaptureFixture[str], source: list[str], named: str
) -> None:
    assert main(["library", "import", *source, "--ehr", "a", *LIBRARIAN]) == EXIT_REFUSED
    assert f"leave out {named}, or the servers" in capsys.readouterr().err


def test_import_when_dates_are_in_the_wrong_order_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRECEDENT_STATE_DIR", str(tmp_path))
    dates = ("--from", "2026-02-01", "--to", "2026-01-01")
    assert main(["library", "import", "--ehr", "a", *LIBRARIAN, *dates]) == EXIT_REFUSED
    assert "--to lies before --from" in capsys.readouterr().err
