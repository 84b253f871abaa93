"""Write the tables in docs/ that the code knows better: settings and third-party licences.

``make tables`` writes them between their marks; tests/test_docs.py compares.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import PackageMetadata, metadata
from pathlib import Path

from bootstrap import LOCK, lock_part
from cds.domain.source_attributes import attribute_table
from cds.settings import Settings
from models.embedder import OnnxImageEmbedder
from models.shipped import shipped_encoder

ROOT = Path(__file__).resolve().parent.parent


def configuration_table() -> str:
    """Return the Markdown table of every setting, read from the fields of `Settings`."""
    rows = ["| Variable | Default | What it does | Since |", "|---|---|---|---|"]
    for setting in fields(Settings):
        facts = setting.metadata
        default = "" if setting.default in (None, "") else f"`{setting.default}`"
        rows.append(f"| `{facts['env']}` | {default} | {facts['help']} | {facts['since']} |")
    return "\n".join(rows)


def licence_table() -> str:
    """Return the Markdown table of every locked package that users install, with its licence.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        If a package of the lock is not installed here: run ``make setup``.

    """
    lock = LOCK.read_text(encoding="utf-8")
    text = "".join(lock_part(lock, part) for part in ("runtime", "evaluate"))
    names = sorted(set(re.findall(r"^([A-Za-z0-9_.-]+)==", text, flags=re.MULTILINE)))
    rows = ["| Package | Licence, as the package states it |", "|---|---|"]
    rows += [f"| {name} | {_licence(metadata(name))} |" for name in names]
    return "\n".join(rows)


def _licence(package: PackageMetadata) -> str:
    """Prefer the SPDX expression, then the classifiers, then a short licence field."""
    facts = package.json
    expression = str(facts.get("license_expression", ""))
    listed = facts.get("classifier", [])
    classifiers = [str(line).rpartition(" :: ")[2] for line in listed if "License ::" in line]
    field = str(facts.get("license", "")).strip()
    short = field if len(field) < 40 and field != "LICENSE" else ""
    return expression or ", ".join(classifiers) or short or "see the package"


def page_table() -> str:
    """Return the Markdown table of every page in docs/: its title, for whom it is, its kind."""
    rows = ["| Page | For whom, and what kind |", "|---|---|"]
    for path in sorted((ROOT / "docs").glob("*.md")):
        if path.name != "index.md":
            title, opening = _opening(path)
            rows.append(f"| [{title}]({path.name}) | {opening} |")
    return "\n".join(rows)


def decision_table() -> str:
    """Return the Markdown list of every decision record."""
    paths = sorted((ROOT / "docs" / "adr").glob("*.md"))
    return "\n".join(f"- [{_opening(path)[0]}](adr/{path.name})" for path in paths)


def _opening(path: Path) -> tuple[str, str]:
    """Return the title of a page and its opening paragraph without the marks of emphasis."""
    title, _, rest = path.read_text(encoding="utf-8").partition("\n")
    paragraph = rest.strip().partition("\n\n")[0]
    return title.removeprefix("# "), " ".join(paragraph.split()).strip("*_")


def attribute_list() -> str:
    """Return the Markdown table of the shipped encoder's source attributes."""
    embedder = OnnxImageEmbedder.from_folder(shipped_encoder())
    return attribute_table(embedder.source_attributes.statements)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "configuration": ("docs/configuration.md", configuration_table),
    "pages": ("docs/index.md", page_table),
    "decisions": ("docs/index.md", decision_table),
    "source-attributes": ("docs/model-card.md", attribute_list),
    "licences": ("docs/third-party-licences.md", licence_table),
}


def with_table(page: str, name: str, table: str) -> str:
    """Return the page with the table between its marks replaced.

    Raises
    ------
    ValueError
        If the page lacks the marks ``<!-- table: name -->`` and ``<!-- end of table -->``.

    """
    begin, end = f"<!-- table: {name} -->\n", "\n<!-- end of table -->"
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        message = f"The page has no place for the table {name!r}."
        raise ValueError(message)
    return head + begin + table + end + tail


def main() -> int:
    """Write every table into its page."""
    for name, (page, make) in TABLES.items():
        path = ROOT / page
        path.write_text(with_table(path.read_text(encoding="utf-8"), name, make()), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
