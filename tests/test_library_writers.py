"""A clinical query never becomes a library case: only an import writes, and only people import."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.architecture_rules import Source, imports, sources
from tests.conftest import ROOT

WRITES = frozenset({"add_case", "add_cases", "add_pictures", "update_case"})
WRITERS = {"cds/library/import_run.py"}
IMPORTS = ("cds.library.import_run", "cds.library.archive_import", "cds.library.archive_intake")
# The command line and its composition; values that say how far a run is may be named elsewhere.
IMPORTERS = (
    "cds/cli/library_",
    "cds/engine/archives.py",
    "cds/engine/bulk_import.py",
    "cds/library/",
    "tests/",
    "bench/",
)
DOORS = ("cds/web/", "cds/hooks/", "smart_app/", "cds/analysis.py", "cds/pipeline.py", "sandbox/")


def calls(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr


@pytest.fixture(scope="module")
def tree() -> list[Source]:
    return list(sources(ROOT))


def test_cases_are_written_by_the_import_alone(tree: list[Source]) -> None:
    product = [s for s in tree if not s.is_test and s.top != "bench"]
    assert {s.path for s in product if WRITES & set(calls(s))} == WRITERS


def test_no_door_reaches_an_import(tree: list[Source]) -> None:
    reaching = {s.path for s in tree if any(i.name.startswith(IMPORTS) for i in imports(s))}
    assert {p for p in reaching if not p.startswith(IMPORTERS)} == set()
    assert not any(p.startswith(DOORS) for p in reaching)
    assert any(p.startswith("cds/cli/") for p in reaching)  # the rule sees something
