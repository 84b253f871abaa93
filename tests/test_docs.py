"""The documents agree with the code: settings, licences, lock, links, audience, commands."""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from bootstrap import lock_part
from cds.cli.main import build_parser
from cds.settings import Settings
from deploy.lock import LOCK, fingerprint
from deploy.reference_tables import (
    attribute_list,
    configuration_table,
    decision_table,
    licence_table,
    page_table,
    with_table,
)

ROOT = Path(__file__).resolve().parent.parent
KINDS = re.compile(r"\b(tutorial|how-to|explanation|reference)\b", re.IGNORECASE)
CLAIMS = re.compile(
    r"\b(HIPAA|GDPR|MDR)[- ]compliant|FDA[- ](cleared|approved)|CE[- ]marked|clinically validated",
    re.IGNORECASE,
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def missing_targets(page: Path, text: str) -> Iterator[str]:
    for target in LINK.findall(text):
        is_elsewhere = target.startswith(("http://", "https://", "#", "mailto:"))
        if not is_elsewhere and not (page.parent / target.partition("#")[0]).exists():
            yield target


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each ``precedent ...`` line in the shell blocks of a page."""
    for block in re.findall(r"^```(?:sh|shell|bash|console)\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words and Path(words[0]).name == "precedent":
                yield words[1:]


def test_configuration_page_when_compared_with_the_settings_agrees() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert page == with_table(page, "configuration", configuration_table()), "run: make tables"


@pytest.mark.parametrize(("name", "make"), [("pages", page_table), ("decisions", decision_table)])
def test_index_when_compared_with_the_folder_lists_all(name: str, make: Callable[[], str]) -> None:
    page = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    assert page == with_table(page, name, make()), "run: make tables"


def test_settings_when_listed_say_what_they_do() -> None:
    mute = [one.name for one in fields(Settings) if not one.metadata.get("help", "").endswith(".")]
    assert mute == []


def test_licence_page_when_compared_with_the_lock_names_every_package() -> None:
    page = (ROOT / "docs/third-party-licences.md").read_text(encoding="utf-8")
    row = re.compile(r"^\| (\S+) \|", re.MULTILINE)
    assert row.findall(page)[1:] == row.findall(licence_table())[1:], "run: make tables"


def test_model_card_page_when_compared_with_the_shipped_card_agrees() -> None:
    page = (ROOT / "docs/model-card.md").read_text(encoding="utf-8")
    assert page == with_table(page, "source-attributes", attribute_list()), "run: make tables"


def test_lock_when_compared_with_pyproject_was_made_from_it() -> None:
    stated = re.search(r"^# made from: (\w+)$", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    assert stated
    assert stated[1] == fingerprint(), "run: make lock"


@pytest.mark.parametrize("part", ["runtime", "build", "evaluate", "dev", "bench"])
def test_lock_when_read_pins_and_hashes_every_line_of_a(part: str) -> None:
    lines = lock_part(LOCK.read_text(encoding="utf-8"), part)
    blocks = re.split(r"^(?=\w)", lines, flags=re.MULTILINE)[1:]
    assert blocks
    loose = [
        one.splitlines()[0] for one in blocks if "==" not in one or "--hash=sha256:" not in one
    ]
    assert loose == []


def test_lock_when_read_holds_no_torch_and_no_host() -> None:
    text = LOCK.read_text(encoding="utf-8")
    assert not re.search(r"^torch|://|^--(index|find)", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_page_when_it_links_names_files_that_exist(page: Path) -> None:
    assert list(missing_targets(page, page.read_text(encoding="utf-8"))) == []


def test_missing_targets_when_a_file_is_not_there_name_it(tmp_path: Path) -> None:
    text = "[a](gone.md) [b](https://x.example.invalid) [c](#here) [d](here.md#part)"
    (tmp_path / "here.md").touch()
    assert list(missing_targets(tmp_path / "page.md", text)) == ["gone.md"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=named)
def test_page_when_opened_says_audience_and_kind(page: Path) -> None:
    opening = page.read_text(encoding="utf-8").splitlines()[:8]
    assert any(KINDS.search(line) for line in opening[1:])


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_page_when_read_claims_no_clearance(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    claims = [found[0] for found in CLAIMS.finditer(text) if not denied(text[: found.start()])]
    assert claims == []


def denied(before: str) -> bool:
    """Whether the words before a claim take it back: "not", "no", "nothing"."""
    return bool(re.search(r"\b(not|no|nor|nothing|never)\b[^.]{0,40}$", before, re.IGNORECASE))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_command_when_shown_on_a_page_is_understood(page: Path) -> None:
    refused = [
        words for words in commands(page.read_text(encoding="utf-8")) if not is_understood(words)
    ]
    assert refused == []


def is_understood(words: list[str]) -> bool:
    try:
        build_parser(words[0] if words else None).parse_args(words)
    except SystemExit as stopped:
        return stopped.code == 0
    return True


def test_command_when_it_does_not_exist_is_not_understood() -> None:
    assert not is_understood(["frobnicate", "--hard"])


def test_commands_when_a_page_has_shell_blocks_are_found() -> None:
    shell = "```sh\n$ precedent match a.png \\\n  --json  # words\nmake demo\n```\n"
    text = shell + "```python\nprecedent x\n```\n"
    assert list(commands(text)) == [["match", "a.png", "--json"]]
