"""The arrows of DESIGN 2 hold in this tree; the rules see each violation planted in a toy."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.architecture_rules import imported_libraries, table_problems, violations

ROOT = Path(__file__).resolve().parent.parent
COMPANIONS = {
    "dicomanonymizer": "dicom-anonymizer",
    "jinja2": "flask",
    "markupsafe": "flask",
    "werkzeug": "flask",
}
"""Libraries that come with one that is declared, or are named otherwise by their package."""


def plant(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def found_in(root: Path) -> list[tuple[str, int, str]]:
    return [(one.path, one.line, one.rule) for one in violations(root)]


def test_tree_when_read_has_no_violation() -> None:
    found = violations(ROOT)
    assert not found, "\n".join(map(str, found))


def test_table_of_rooms_when_read_names_known_rooms_and_has_no_cycle() -> None:
    assert table_problems() == []


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        pytest.param("cds/domain/a.py", "import cds.ports\n", 1, id="domain-outwards"),
        pytest.param("cds/domain/a.py", "import cds\nx = 1\n", 1, id="domain-whole-package"),
        pytest.param("cds/domain/a.py", "from cds import ports\n", 1, id="from-the-package"),
        pytest.param("cds/ports.py", "from cds.fhir import reading\n", 1, id="ports-outwards"),
        pytest.param("cds/fhir/a.py", "def f():\n    import cds.web\n", 2, id="lazy-import"),
        pytest.param(
            "cds/hooks/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cds.engine\n",
            3,
            id="for-types-only",
        ),
        pytest.param(
            "cds/hooks/a.py",
            "from importlib import import_module\nimport_module('cds.engine')\n",
            2,
            id="by-literal-name",
        ),
        pytest.param("cds/hooks/a.py", "from ..web import wsgi\n", 1, id="relative-import"),
        pytest.param("cds/fhir/__init__.py", "from .. import web\n", 1, id="relative-in-package"),
        pytest.param("cds/web/a.py", "import sandbox.hospital\n", 1, id="sandbox-from-web"),
        pytest.param("cds/cli/demo.py", "import sandbox\n", 1, id="sandbox-from-cli"),
        pytest.param("sandbox/a.py", "import cds.engine\n", 1, id="sandbox-into-engine"),
        pytest.param("models/a.py", "import models.training\n", 1, id="models-into-training"),
        pytest.param("smart_app/a.py", "import cds.adapters\n", 1, id="app-past-engine"),
        pytest.param("cds/adapters/a.py", "import cds.settings\n", 1, id="adapter-reads-settings"),
        pytest.param("cds/pipeline.py", "from cds.library import table\n", 1, id="pipeline"),
        pytest.param("cds/web/a.py", "import sqlalchemy\n", 1, id="sql-outside-adapters"),
        pytest.param("cds/domain/a.py", "import requests\n", 1, id="http-in-domain"),
        pytest.param("cds/engine.py", "import onnxruntime\n", 1, id="onnxruntime-elsewhere"),
        pytest.param("models/a.py", "import torch\n", 1, id="torch-outside-training"),
        pytest.param("cds/hooks/a.py", "import fhir.resources\n", 1, id="fhir-resources"),
        pytest.param("cds/hooks/a.py", "import left_pad\n", 1, id="library-of-no-room"),
        pytest.param("models/a.py", "import pickle\n", 1, id="pickle"),
        pytest.param("models/a.py", "import joblib\n", 1, id="joblib"),
        pytest.param("tests/test_a.py", "from unittest import mock\n", 1, id="mock-in-tests"),
    ],
)
def test_import_when_the_table_does_not_allow_it_is_found(
    tmp_path: Path, path: str, text: str, line: int
) -> None:
    plant(tmp_path, path, text)
    assert found_in(tmp_path) == [(path, line, "import")]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param(
            "cds/domain/a.py", "import json\nimport numpy\nimport cds.domain.b\n", id="dom"
        ),
        pytest.param("cds/engine.py", "import cds.adapters.x, models.embedder\n", id="engine"),
        pytest.param("cds/cli/a.py", "import cds.engine, smart_app, rich\n", id="cli"),
        pytest.param("cds/fhir/a.py", "from fhir.resources.R4B import patient\n", id="fhir"),
        pytest.param("models/training/a.py", "import torch, models\n", id="training"),
        pytest.param(
            "cds/adapters/usearch_index.py", "import onnxruntime\nimport usearch\n", id="exception"
        ),
        pytest.param("sandbox/a.py", "import cds.library.table, flask\n", id="sandbox"),
        pytest.param("tests/unit/test_a.py", "import sandbox, cds.engine, torch\n", id="tests"),
    ],
)
def test_import_when_the_table_allows_it_is_no_violation(
    tmp_path: Path, path: str, text: str
) -> None:
    plant(tmp_path, path, text)
    assert found_in(tmp_path) == []


def test_usearch_when_imported_first_is_found(tmp_path: Path) -> None:
    path = "cds/adapters/usearch_index.py"
    plant(tmp_path, path, "import usearch\nimport onnxruntime\n")
    assert found_in(tmp_path) == [(path, 1, "order")]


def test_usearch_when_imported_alone_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "cds/adapters/other.py", "def f():\n    from usearch.index import Index\n")
    assert found_in(tmp_path) == [("cds/adapters/other.py", 2, "order")]


def test_module_when_it_lies_in_no_room_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "cds/glue.py", "x = 1\n")
    assert found_in(tmp_path) == [("cds/glue.py", 1, "room")]


@pytest.mark.parametrize(
    ("path", "n_lines", "is_found"),
    [
        pytest.param("cds/domain/a.py", 400, False, id="module-at-limit"),
        pytest.param("cds/domain/a.py", 401, True, id="module-over"),
        pytest.param("tests/unit/test_a.py", 600, False, id="test-at-limit"),
        pytest.param("tests/unit/test_a.py", 601, True, id="test-over"),
        pytest.param("cds/pipeline.py", 60, False, id="pipeline-at-limit"),
        pytest.param("cds/pipeline.py", 61, True, id="pipeline-over"),
    ],
)
def test_module_when_longer_than_its_limit_is_found(
    tmp_path: Path, path: str, n_lines: int, *, is_found: bool
) -> None:
    plant(tmp_path, path, "\n" * n_lines)
    assert found_in(tmp_path) == ([(path, 1, "size")] if is_found else [])


def function_of(n_lines: int, arguments: str = "") -> str:
    return f'def f({arguments}):\n    """Say.\n\n    More.\n    """\n' + "    x = 1\n" * n_lines


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        pytest.param(function_of(40), False, id="body-at-limit-without-docstring"),
        pytest.param(function_of(41), True, id="body-over"),
        pytest.param(function_of(1, "a, b, c, d, e, f"), False, id="six-arguments"),
        pytest.param(function_of(1, "a, b, c, d, *, e, f, g"), True, id="seven-arguments"),
        pytest.param(
            "class A:\n    def f(self, a, b, c, d, e, g):\n        return a\n", False, id="self"
        ),
        pytest.param(
            "def f():\n    x = 1\n    def g():\n" + "        y = 1\n" * 40 + "    return g\n",
            False,
            id="nested-function-is-measured-itself",
        ),
        pytest.param(
            "def f():\n    def g():\n" + "        y = 1\n" * 41 + "    return g\n",
            True,
            id="nested-function-over",
        ),
    ],
)
def test_function_when_longer_than_its_limit_is_found(
    tmp_path: Path, text: str, *, is_found: bool
) -> None:
    plant(tmp_path, "cds/domain/a.py", text)
    assert [rule for _, _, rule in found_in(tmp_path)] == (["size"] if is_found else [])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param("cds/domain/utils.py", "", id="utils"),
        pytest.param("cds/fhir/fhir_helpers.py", "", id="word-in-name"),
        pytest.param("cds/common/a.py", "", id="folder"),
        pytest.param("cds/adapters/base.py", "", id="base"),
        pytest.param("tests/unit/test_utils.py", "", id="tests-too"),
        pytest.param("cds/domain/a.py", "score = 1\n", id="bare-score"),
        pytest.param("cds/domain/a.py", "def f(study_id): ...\n", id="argument"),
        pytest.param("cds/domain/a.py", "class A:\n    pred: float\n", id="field"),
        pytest.param("cds/domain/a.py", "class PatientDTO: ...\n", id="class-suffix"),
        pytest.param("tests/unit/test_a.py", "class MockReader: ...\n", id="mock"),
    ],
)
def test_name_when_it_is_refused_is_found(tmp_path: Path, path: str, text: str) -> None:
    plant(tmp_path, path, text)
    assert "name" in {rule for _, _, rule in found_in(tmp_path)}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("similarity = 1\n", id="said-in-full"),
        pytest.param("brier_score = 1\n", id="score-of-something"),
        pytest.param("class Data: ...\n", id="one-word-class"),
    ],
)
def test_name_when_it_is_allowed_is_no_violation(tmp_path: Path, text: str) -> None:
    plant(tmp_path, "cds/domain/a.py", text)
    assert found_in(tmp_path) == []


def test_libraries_when_imported_are_declared_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    declared = {
        re.split(r"[<>=~\[ ;]", line)[0].lower() for line in [*project["dependencies"], *extras]
    }
    provided = packages_distributions()
    missing = [
        name
        for name in imported_libraries(ROOT)
        if not declared & {one.lower() for one in provided.get(name, [COMPANIONS.get(name, name)])}
        and COMPANIONS.get(name) not in declared
    ]
    assert missing == []


def test_library_of_the_crash_when_imported_after_our_index_works() -> None:
    """Regression of the crash that the order rule is for: in a process of its own."""
    code = "import cds.adapters.usearch_index, usearch.index, onnxruntime, models"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=120)
    assert done.returncode == 0
