"""The app inside an EHR's frame, in Chromium: its cookies are third-party there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from flask import Flask
from werkzeug.serving import BaseWSGIServer, make_server

from smart_app.application import create_app
from tests.builders.case_report import a_study
from tests.fakes.launch_engine import FakeLaunchEngine
from tests.fakes.smart_server import SmartServer, running_smart_server

if TYPE_CHECKING:
    from playwright.sync_api import BrowserType

FLAGS = ["--no-sandbox", "--disable-gpu"]
WIDTH_PX, HEIGHT_PX = 900, 700
WAIT_MS = 20_000  # the longest wait, not an expectation


@contextmanager
def serving(server: BaseWSGIServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def an_ehr(frame_address: list[str]) -> Flask:
    """A page on another host that frames the app."""
    ehr = Flask("ehr")

    @ehr.get("/")
    def chart() -> str:
        size = f'width="{WIDTH_PX}" height="{HEIGHT_PX}"'
        return f'<title>EHR</title><iframe {size} src="{frame_address[0]}"></iframe>'

    @ehr.get("/favicon.ico")
    def icon() -> tuple[str, int]:
        return "", 204

    return ehr


@pytest.fixture
def framed() -> Iterator[tuple[FakeLaunchEngine, str]]:
    """The engine, and the address of an EHR page on localhost that frames the app on 127.0.0.1."""
    frame_address = [""]
    with ExitStack() as stack:
        smart: SmartServer = stack.enter_context(running_smart_server())
        smart.base = smart.base.replace("127.0.0.1", "localhost")
        smart.token_members["appContext"] = f'{{"study":"{a_study().study_instance_uid}"}}'
        engine = FakeLaunchEngine(smart.fhir_base_url)
        ehr_server = make_server("127.0.0.1", 0, an_ehr(frame_address), threaded=True)
        ehr_url = f"http://localhost:{stack.enter_context(serving(ehr_server))}"
        engine.registrations = replace(
            engine.registrations,
            known=(replace(engine.registrations.known[0], frame_ancestors=(ehr_url,)),),
        )
        app_server = make_server("127.0.0.1", 0, create_app(engine), threaded=True)
        app_url = f"http://127.0.0.1:{stack.enter_context(serving(app_server))}"
        engine.settings = replace(engine.settings, public_url=app_url)
        smart.redirect_uri = f"{app_url}/callback"
        query = urlencode({"iss": smart.fhir_base_url, "launch": "launch-1"})
        frame_address[0] = f"{app_url}/launch?{query}"
        yield engine, ehr_url


@pytest.mark.e2e
@pytest.mark.parametrize("blocking", [[], ["--test-third-party-cookie-phaseout"]])
def test_launch_in_a_frame_works_when_third_party_cookies_are_blocked(
    framed: tuple[FakeLaunchEngine, str],
    browser_type: BrowserType,
    chromium: str,
    blocking: list[str],
) -> None:
    engine, ehr_url = framed
    asked: list[str] = []
    complaints: list[str] = []
    with browser_type.launch(executable_path=chromium, args=[*FLAGS, *blocking]) as browser:
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(ehr_url)
        frame = page.frame_locator("iframe")
        frame.get_by_text("Weber, Ingrid").wait_for()
        page.wait_for_load_state("networkidle")
        seen = "img => img.complete && img.naturalWidth > 0"
        assert frame.locator(".query img").evaluate(seen)
        assert frame.locator(".card img").first.evaluate(seen)
        frame.get_by_label("Labs and history only").check()
        with page.expect_response(lambda answer: "record" in answer.url):
            frame.get_by_role("button", name="Compare").click()
        frame.locator("input[value=record]:checked").wait_for()
        assert engine.analysed[-1][2].image == 0.0
        keys = {cookie.get("partitionKey") for cookie in page.context.cookies()}
        assert keys == {"http://localhost"}
        frame.get_by_role("button", name="Sign out").click()
        frame.get_by_text("no longer has access").wait_for()
    assert engine.sessions.sessions == {}
    assert complaints == []
    assert all("://localhost:" in url or "://127.0.0.1:" in url for url in asked)


@pytest.mark.e2e
def test_page_is_not_shown_in_a_frame_of_an_origin_that_is_not_registered(
    framed: tuple[FakeLaunchEngine, str], browser_type: BrowserType, chromium: str
) -> None:
    engine, ehr_url = framed
    only = replace(
        engine.registrations.known[0], frame_ancestors=("https://other.example.invalid",)
    )
    engine.registrations = replace(engine.registrations, known=(only,))
    with browser_type.launch(executable_path=chromium, args=FLAGS) as browser:
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        with page.expect_console_message(lambda m: "frame-ancestors" in m.text):
            page.goto(ehr_url)
        assert page.frame_locator("iframe").get_by_text("Weber").count() == 0
