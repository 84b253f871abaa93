"""The whole demo, started once, and a browser to walk it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserType, ConsoleMessage, FrameLocator

N_CASES = 80
READY_S = 300
HOOK_DEADLINE_MS = "4500"  # below the EHR's own patience of 5 s
COMMAND = "import sys; from cds.cli.main import main; sys.exit(main())"
CHROMIUM_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
BLOCK_THIRD_PARTY_COOKIES = "--test-third-party-cookie-phaseout"


@dataclass(frozen=True)
class Demo:
    """A running demo."""

    ehr_url: str
    app_url: str
    state: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Demo]:
    assert chromium
    state = tmp_path_factory.mktemp("demo")
    ehr_port, app_port = free_port(), free_port()
    command = [sys.executable, "-c", COMMAND, "demo", "--no-browser", "--state", str(state)]
    command += ["--port", str(ehr_port), "--app-port", str(app_port), "--cases", str(N_CASES)]
    log_path = state / "demo.log"
    # On a busy machine the card may come late; a test must not fail for that.
    environment = os.environ | {"PRECEDENT_HOOK_DEADLINE_MS": HOOK_DEADLINE_MS}
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_until_ready(process, app_port, log_path)
        yield Demo(f"http://localhost:{ehr_port}", f"http://127.0.0.1:{app_port}", state)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        _keep_logs(state)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log_path: Path) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"The demo has stopped:\n{log_path.read_text()}")
        if "Ready after" in log_path.read_text():
            assert requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).ok
            return
        time.sleep(0.2)
    pytest.fail(f"The demo is not ready after {READY_S} s:\n{log_path.read_text()}")


def _keep_logs(state: Path) -> None:
    for path in (state / "demo.log", *state.glob("logs/*.log")):
        shutil.copy(path, artifacts() / f"e2e-{path.name.lower()}")


def artifacts() -> Path:
    folder = Path(os.environ.get("PRECEDENT_ARTIFACTS", "artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _launch(browser_type: BrowserType, path: str, *more: str) -> Browser:
    return browser_type.launch(executable_path=path, args=[*CHROMIUM_ARGUMENTS, *more])


@pytest.fixture(scope="session")
def browser(browser_type: BrowserType, chromium: str) -> Iterator[Browser]:
    browser = _launch(browser_type, chromium)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def strict_browser(browser_type: BrowserType, chromium: str) -> Iterator[Browser]:
    browser = _launch(browser_type, chromium, BLOCK_THIRD_PARTY_COOKIES)
    yield browser
    browser.close()


@dataclass
class Walk:
    """One person at the EHR; what the browser complains about is kept."""

    page: Page
    demo: Demo
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("console", self._keep)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _keep(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def sign_in(self, login: str) -> None:
        self.page.goto(f"{self.demo.ehr_url}/")
        self.page.fill("input[name=login]", login)
        self.page.fill("input[name=password]", "sandbox")
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_selector("[data-testid=patient-list]")

    def open_chart(self, case: str) -> None:
        self.page.goto(f"{self.demo.ehr_url}/ehr/patients")
        self.page.locator(f"tr[data-case='{case}'] a.name").click()
        self.page.wait_for_selector("[data-testid=cards][data-loaded]")

    def open_tab(self, name: str) -> None:
        self.page.get_by_role("navigation", name="Chart").get_by_role("link", name=name).click()

    def cards_text(self) -> str:
        return self.page.locator("[data-testid=cards]").inner_text()

    def open_app(self) -> FrameLocator:
        """Open the app from the chart's own button, and wait for its page."""
        self.page.locator("[data-testid=open-app]").click()
        return self.app()

    def app(self) -> FrameLocator:
        """Wait for a page of the app in its panel that is not on the way any more."""
        frame = self.page.frame_locator("[data-app-frame]")
        frame.locator("main, [role=main]").first.wait_for(timeout=30_000)
        return frame

    def app_text(self) -> str:
        """Return the words of the app's page."""
        return self.app().locator("body").inner_text()

    def keep(self, name: str) -> None:
        self.page.screenshot(path=artifacts() / f"e2e-{name}.png")

    def refuse_foreign_hosts(self) -> None:
        own = {urlsplit(url).netloc for url in (self.demo.ehr_url, self.demo.app_url)}
        assert self.hosts - {""} <= own

    def switch(self, server: str, state: str) -> None:
        """Turn a server of the sandbox off or on."""
        self.page.goto(f"{self.demo.ehr_url}/ehr/controls")
        button = self.page.locator(f"[data-testid={server}-{state}]")
        if button.is_enabled():
            button.click()
        shown = self.page.locator(f"[data-testid={server}-state]")
        assert re.fullmatch(state, shown.inner_text())


@pytest.fixture
def plain_cookie_of_frame(strict_browser: Browser) -> str | None:
    """Set a cookie without Partitioned in a third party's frame; return what comes back."""
    received: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            if self.path == "/in-frame":
                received.append(self.headers.get("Cookie"))
                self.send_header("Set-Cookie", "plain=1; Secure; SameSite=None; Path=/")
            self.end_headers()
            if self.path == "/top":
                own = f"http://127.0.0.1:{self.headers['Host'].rpartition(':')[2]}/in-frame"
                self.wfile.write(f"<iframe src='{own}'></iframe>".encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    page = strict_browser.new_context().new_page()
    for _ in range(2):
        page.goto(f"http://localhost:{server.server_port}/top")
    page.context.close()
    server.shutdown()
    thread.join()
    server.server_close()
    assert len(received) == 2
    return received[-1]


@pytest.fixture
def walk(browser: Browser, demo: Demo) -> Iterator[Walk]:
    context = browser.new_context(viewport={"width": 1600, "height": 950})
    yield Walk(context.new_page(), demo)
    context.close()


@pytest.fixture
def strict_walk(strict_browser: Browser, demo: Demo) -> Iterator[Walk]:
    context = strict_browser.new_context(viewport={"width": 1600, "height": 950})
    yield Walk(context.new_page(), demo)
    context.close()
