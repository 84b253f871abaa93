"""The rooms of the tree as rules over its syntax: imports, owned libraries, sizes, names.

`violations(root)` reads every Python file below `root` and needs nothing installed, so that
test_architecture.py can plant each violation in a toy tree and see it found.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

DOMAIN = "cds.domain"
CONTRACTS = (DOMAIN, "cds.ports", "cds.settings")
"""What every outer room may name: values, ports, and the frozen `Settings` value."""

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    # room: rooms of ours that it may import besides itself
    "cds": (),
    "cds.domain": (),
    "cds.ports": (DOMAIN,),
    "cds.settings": (DOMAIN,),
    "cds.hooks": (DOMAIN,),
    "cds.fhir": (DOMAIN,),
    "cds.pipeline": (DOMAIN, "cds.ports"),
    "cds.analysis": (DOMAIN, "cds.ports", "cds.kept_answers", "cds.pipeline"),
    "cds.arrival_ports": (DOMAIN, "cds.ports"),
    "cds.kept_answers": (DOMAIN, "cds.ports", "cds.arrival_ports"),
    "cds.arrival": (
        *(DOMAIN, "cds.ports", "cds.arrival_ports"),
        *("cds.kept_answers", "cds.analysis"),
    ),
    "cds.library": (DOMAIN, "cds.ports"),
    "cds.reports": (DOMAIN, "cds.ports", "cds.fhir"),
    "cds.chat": (DOMAIN, "cds.ports", "cds.fhir"),
    "cds.adapters": (DOMAIN, "cds.ports", "cds.fhir"),
    "cds.engine": (
        *CONTRACTS,
        "cds.pipeline",
        "cds.analysis",
        "cds.arrival",
        "cds.arrival_ports",
        "cds.kept_answers",
        "cds.library",
        "cds.reports",
        "cds.chat",
        "cds.adapters",
        "models",
    ),
    "cds.web": (*CONTRACTS, "cds.engine", "cds.hooks", "cds.fhir", "cds.reports", "cds.chat"),
    "cds.cli": ("cds", "models", "models.training", "smart_app"),
    "models": (DOMAIN,),
    "models.training": (DOMAIN, "models"),
    "smart_app": (*CONTRACTS, "cds.web", "cds.engine", "cds.reports", "cds.chat"),
    "sandbox": (DOMAIN, "cds.fhir", "cds.library.table"),
}

EVERYWHERE = ("numpy",)
OWNERS: dict[str, tuple[str, ...]] = {
    # library (as imported): the rooms that own it; a library that is not here is in no room
    "onnxruntime": ("models",),
    "sklearn": ("models",),
    "transformers": ("models",),
    "onnx": ("models.training",),
    "torch": ("models.training",),
    "PIL": ("models", "cds.adapters", "cds.library", "cds.reports", "sandbox"),
    "fhir": ("cds.fhir",),
    "pydantic": ("cds.fhir", "cds.adapters"),
    "pydicom": ("cds.library", "cds.adapters", "sandbox"),
    "dicomanonymizer": ("cds.library",),
    "highdicom": ("cds.reports",),
    "reportlab": ("cds.reports", "models"),
    "matplotlib": ("models",),
    "seaborn": ("models",),
    "requests": ("cds.adapters", "sandbox"),
    "urllib3": ("cds.adapters",),
    "dicomweb_client": ("cds.adapters",),
    "imagecodecs": ("cds.adapters",),
    "sqlalchemy": ("cds.adapters",),
    "alembic": ("cds.adapters",),
    "usearch": ("cds.adapters",),
    "fsspec": ("cds.adapters",),
    "huey": ("cds.adapters",),
    "dask": ("cds.adapters",),
    "distributed": ("cds.adapters",),
    "pymilvus": ("cds.adapters",),
    "huggingface_hub": ("cds.adapters",),
    "defusedxml": ("cds.adapters", "cds.library", "cds.reports"),
    "cryptography": ("cds.adapters", "cds.web", "smart_app", "sandbox"),
    "joserfc": ("cds.adapters", "cds.web", "smart_app", "sandbox"),
    "authlib": ("cds.web", "smart_app", "sandbox"),
    "flask": ("cds.web", "smart_app", "sandbox"),
    "werkzeug": ("cds.web", "smart_app", "sandbox"),
    "jinja2": ("cds.reports", "cds.web", "smart_app", "sandbox"),
    "markupsafe": ("cds.reports", "cds.web", "smart_app", "sandbox"),
    "markdown_it": ("sandbox",),
    "scipy": ("sandbox",),
    "gunicorn": ("cds.web", "cds.cli", "smart_app", "sandbox"),
    "orjson": ("cds.hooks", "cds.fhir", "cds.adapters", "cds.web", "smart_app", "sandbox"),
    "rich": ("cds.cli",),
    "threadpoolctl": ("cds.engine",),
}
EXCEPTIONS: dict[tuple[str, str], str] = {
    # (file, library): reason
    (
        "cds/adapters/usearch_index.py",
        "onnxruntime",
    ): "usearch before onnxruntime crashes the process; the adapter imports it first itself",
}
FORBIDDEN = {
    "pickle": "no pickle anywhere: npz, JSON or ONNX",
    "shelve": "no pickle anywhere: npz, JSON or ONNX",
    "joblib": "no joblib files anywhere: npz, JSON or ONNX",
    "unittest": "write a fake that behaves (tests/fakes)",
}

VAGUE_WORDS = frozenset(
    {
        *("base", "common", "commons", "helper", "helpers", "manager", "managers"),
        *("misc", "util", "utils"),
    }
)
REFUSED_NAMES = {
    "score": "say similarity, distance, probability",
    "scores": "say similarities, distances, probabilities",
    "pred": "say probability or finding",
    "preds": "say probabilities or findings",
    "conf": "say probability or threshold",
    "acc": "say the metric's name",
    "study_id": "say study_instance_uid or the FHIR id's name",
    "service": "say cds_service, or the port's name",
}
REFUSED_SUFFIXES = ("Model", "DTO", "Data", "Info")
MODULE_LINES, TEST_LINES, FUNCTION_LINES, ARGUMENTS = 400, 600, 40, 6
PIPELINE_LINES = 60
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
CHECKED = ("cds", "models", "smart_app", "sandbox", "fhir_profiles")
NAMED = (*CHECKED, "tests", "bench", "deploy")


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """One place where the tree strays from its rules."""

    path: str
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.text}"


@dataclass(frozen=True, slots=True)
class Source:
    """One parsed file: its path from the root, its dotted module and its syntax."""

    path: str
    lines: int
    tree: ast.Module = field(repr=False)

    @property
    def module(self) -> str:
        """The dotted name; a package's ``__init__`` is the package."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def top(self) -> str:
        """The room's outermost folder."""
        return self.path.partition("/")[0]

    @property
    def is_test(self) -> bool:
        """Whether it is read as a test."""
        return self.top == "tests"


@dataclass(frozen=True, slots=True)
class Import:
    """One imported dotted name, and the line that imports it."""

    name: str
    line: int


def sources(root: Path) -> Iterator[Source]:
    """Yield every Python file of the product, in order of its path."""
    for top in NAMED:
        for path in sorted((root / top).rglob("*.py")):
            relative = path.relative_to(root).as_posix()
            if "node_modules" in relative or "__pycache__" in relative:
                continue
            text = path.read_text(encoding="utf-8")
            yield Source(relative, text.count("\n"), ast.parse(text, filename=relative))


def imports(source: Source) -> Iterator[Import]:
    """Yield what a file imports anywhere: lazily, for types only, or by a literal name."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            stem = _absolute(source, node)
            for alias in node.names:
                yield Import(f"{stem}.{alias.name}", node.lineno)
        elif isinstance(node, ast.Call) and _imports_by_name(node):
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield Import(name.value, node.lineno)


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    is_package = source.path.endswith("__init__.py")
    parts = source.module.split(".")
    kept = parts[: len(parts) - node.level + is_package]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _imports_by_name(node: ast.Call) -> bool:
    called = ast.unparse(node.func)
    return bool(node.args) and called.rpartition(".")[2] in {"import_module", "__import__"}


def room_of(module: str) -> str | None:
    """Return the innermost room of a dotted name, None when it is not one of ours."""
    parts = module.split(".")
    names = [".".join(parts[:depth]) for depth in range(len(parts), 0, -1)]
    return next((name for name in names if name in MAY_IMPORT), None)


def _within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def import_violations(source: Source) -> Iterator[Violation]:
    """Yield imports that the table of rooms or the owners of libraries do not allow."""
    room = room_of(source.module) if source.top in CHECKED else None
    for found in imports(source):
        top = found.name.partition(".")[0]
        text = FORBIDDEN.get(top)
        if room and top in CHECKED:
            text = _refused_room(room, found.name)
        elif room and not text and top not in sys.stdlib_module_names:
            text = _refused_library(source.path, room, top)
        if text:
            yield Violation(source.path, found.line, "import", text)


def _refused_room(room: str, name: str) -> str | None:
    if room_of(name) == room or any(_within(name, allowed) for allowed in MAY_IMPORT[room]):
        return None
    return f"{room} may not import {name}"


def _refused_library(path: str, room: str, library: str) -> str | None:
    owners = OWNERS.get(library, ())
    allowed = library in EVERYWHERE or (path, library) in EXCEPTIONS
    if allowed or any(_within(room, owner) for owner in owners):
        return None
    return f"{library} belongs to {', '.join(owners) or 'no room'}, not to {room}"


def unknown_room_violations(source: Source) -> Iterator[Violation]:
    """Yield modules of `cds` that lie in no room."""
    if _within(source.module, "cds") and source.module != "cds" and room_of(source.module) == "cds":
        yield Violation(source.path, 1, "room", f"{source.module} is in no room of DESIGN 2")


def import_order_violations(source: Source) -> Iterator[Violation]:
    """Yield files that import usearch without importing onnxruntime before it."""
    if source.top not in CHECKED:
        return
    found = sorted(imports(source), key=lambda one: one.line)
    tops = [(one.name.partition(".")[0], one.line) for one in found]
    usearch = [line for name, line in tops if name == "usearch"]
    onnx = [line for name, line in tops if name == "onnxruntime"]
    if usearch and (not onnx or onnx[0] > usearch[0]):
        text = "usearch is imported before onnxruntime, which crashes the process"
        yield Violation(source.path, usearch[0], "order", text)


def size_violations(source: Source) -> Iterator[Violation]:
    """Yield modules, functions and argument lists that are too long."""
    limit = TEST_LINES if source.is_test else MODULE_LINES
    if source.path == "cds/pipeline.py":
        limit = PIPELINE_LINES
    if source.lines > limit and "/migrations/versions/" not in source.path:
        text = f"{source.lines} lines, at most {limit}"
        yield Violation(source.path, 1, "size", text)
    if source.is_test or "/migrations/versions/" in source.path:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, FUNCTIONS):
            yield from _function_violations(source, node)


def _function_violations(
    source: Source, node: ast.FunctionDef | ast.AsyncFunctionDef
) -> Iterator[Violation]:
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    count = sum(argument.arg not in {"self", "cls"} for argument in given)
    if count > ARGUMENTS:
        text = f"{node.name} takes {count} arguments, at most {ARGUMENTS}"
        yield Violation(source.path, node.lineno, "size", text)
    body = node.body[1:] if ast.get_docstring(node) else node.body
    n_lines = _span(body[0], body[-1]) if body else 0
    # A factory that registers routes holds functions that are measured themselves.
    n_lines -= sum(_span(one, one) for one in node.body if isinstance(one, FUNCTIONS))
    if n_lines > FUNCTION_LINES:
        text = f"{node.name} has {n_lines} lines, at most {FUNCTION_LINES}"
        yield Violation(source.path, node.lineno, "size", text)


def _span(first: ast.stmt, last: ast.stmt) -> int:
    decorators = first.decorator_list if isinstance(first, FUNCTIONS) else []
    start = min([first.lineno, *(one.lineno for one in decorators)])
    return (last.end_lineno or start) - start + 1


def name_violations(source: Source) -> Iterator[Violation]:
    """Yield files, classes, arguments and fields whose name says nothing or is refused."""
    for part in source.path.removesuffix(".py").split("/"):
        vague = VAGUE_WORDS & set(part.split("_"))
        if vague:
            text = f"{part} says nothing ({', '.join(sorted(vague))}): name what it holds"
            yield Violation(source.path, 1, "name", text)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef):
            yield from _class_name_violations(source, node)
        elif isinstance(node, ast.arg):
            yield from _refused(source, node.arg, node.lineno)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield from _refused(source, node.id, node.lineno)


def _class_name_violations(source: Source, node: ast.ClassDef) -> Iterator[Violation]:
    words = re.findall(r"[A-Z][a-z0-9]*|[A-Z]+(?![a-z])", node.name)
    if len(words) > 1 and node.name.endswith(REFUSED_SUFFIXES):
        text = f"class {node.name}: no suffix {', '.join(REFUSED_SUFFIXES)}"
        yield Violation(source.path, node.lineno, "name", text)
    if source.is_test and "Mock" in node.name:
        text = f"class {node.name}: a double is FakeX, StubX or RecordedX"
        yield Violation(source.path, node.lineno, "name", text)


def _refused(source: Source, name: str, line: int) -> Iterator[Violation]:
    reason = REFUSED_NAMES.get(name)
    if reason:
        yield Violation(source.path, line, "name", f"{name} is refused: {reason}")


RULES = (
    import_violations,
    unknown_room_violations,
    import_order_violations,
    size_violations,
    name_violations,
)


def violations(root: Path) -> list[Violation]:
    """Return every violation below `root`, sorted by place."""
    return sorted({found for source in sources(root) for rule in RULES for found in rule(source)})


def table_problems() -> list[str]:
    """Return what is wrong with the table itself: a cycle between rooms, an unknown room."""
    known = {*MAY_IMPORT, "cds.library.table"}
    unknown = [name for names in MAY_IMPORT.values() for name in names if name not in known]
    unknown += [name for names in OWNERS.values() for name in names if name not in known]
    cycles = [" -> ".join(path) for room in MAY_IMPORT for path in _cycles((room,))]
    return [*(f"unknown room {name}" for name in unknown), *cycles]


def _cycles(path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for allowed in MAY_IMPORT.get(path[-1], ()):
        if allowed == path[0]:
            yield (*path, allowed)
        elif allowed not in path:
            yield from _cycles((*path, allowed))


def imported_libraries(root: Path) -> set[str]:
    """Return the top names of the third-party libraries that the product imports."""
    tops = {
        found.name.partition(".")[0]
        for source in sources(root)
        if source.top in CHECKED
        for found in imports(source)
    }
    return {name for name in tops if name not in sys.stdlib_module_names and name not in CHECKED}


__all__ = ["Violation", "imported_libraries", "table_problems", "violations"]
