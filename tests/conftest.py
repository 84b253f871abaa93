"""Fixtures of the whole suite: the shared data, a browser, where artefacts go, Hypothesis' profile.

What is missing on a developer's machine skips a test with a sentence; in CI it is a failure.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.servers.orthanc import orthanc, shared_orthanc
from tests.servers.postgresql import database_url, postgresql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserType

__all__ = [  # fixtures that every folder of tests may use
    "database_url",
    "orthanc",
    "postgresql",
    "shared_orthanc",
]

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
IN_CI = os.environ.get("CI", "") not in {"", "false", "0"}

# Timing never decides a test, and the same tree always gives the same verdict.
hypothesis.settings.register_profile("tree", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("tree")


def missing(sentence: str) -> None:
    """Skip the test with a sentence, or fail it in CI, where everything has to be there."""
    if IN_CI:
        pytest.fail(f"{sentence} CI has to provide it.", pytrace=False)
    pytest.skip(sentence)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of shared data: PRECEDENT_SHARED, else ../shared beside the tree."""
    folder = Path(os.environ.get("PRECEDENT_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        missing(f"There is no shared data at {folder}; PRECEDENT_SHARED names another folder.")
    return folder.resolve()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium for the tests that walk the product in a browser."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        missing("Chromium is missing: apt-get install --no-install-recommends chromium.")
    return str(path)


@pytest.fixture(scope="session")
def browser_type() -> Iterator[BrowserType]:
    """Playwright's Chromium, one for the whole run: a second Playwright would refuse to start."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture(scope="session")
def artifacts_dir() -> Path:
    """Where screenshots and logs for a person to look at are kept: ``artifacts/``."""
    folder = Path(os.environ.get("PRECEDENT_ARTIFACTS", ROOT / "artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
