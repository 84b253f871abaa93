"""Which requirement ids the tests carry, read from their syntax, so that any partial run knows."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mark:
    """One id on one ``pytest.mark.requirement(...)``; `requirement` None: not a literal string."""

    path: str
    line: int
    requirement: str | None


def marks(tests: Path) -> Iterator[Mark]:
    """Yield every id given to ``pytest.mark.requirement`` below the folder `tests`."""
    for path in sorted(tests.rglob("*.py")):
        name = path.relative_to(tests).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.requirement":
                for value in node.args or [ast.Constant(None)]:
                    is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
                    yield Mark(name, node.lineno, str(ast.literal_eval(value)) if is_text else None)
