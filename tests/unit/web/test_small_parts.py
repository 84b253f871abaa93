"""Deadlines, outages, the software's version, headers without TLS, and how the log is set up."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import PackageNotFoundError

import pytest

from cds.domain.time_limit import TimeLimit
from cds.hooks.request import HookRequest
from cds.web import software
from cds.web.headers import machine_headers
from cds.web.hook_answer import HookCall
from cds.web.hook_state import Caller
from cds.web.logs import JsonFormatter, configure_logging
from cds.web.outages import Outages
from tests.builders.answers import NOW, a_registration
from tests.fakes.machine_door import a_hook_body


def test_deadline_when_time_passes_runs_out_and_never_below_zero() -> None:
    now = [100.0]
    limit = TimeLimit(0.5, clock=lambda: now[0])
    earlier = limit.earlier_by(0.05)
    assert (round(limit.remaining_s(), 6), round(earlier.remaining_s(), 6)) == (0.5, 0.45)
    now[0] = 101.0
    assert (limit.remaining_s(), earlier.remaining_s()) == (0.0, 0.0)
    assert limit.earlier_by(1.0).remaining_s() == 0.0


def test_outage_when_it_goes_on_keeps_its_beginning_for_each_ehr() -> None:
    outages = Outages()
    later = NOW + timedelta(minutes=9)
    assert outages.failed("a", NOW) == NOW
    assert outages.failed("a", later) == NOW
    assert outages.failed("b", later) == later
    outages.worked("a")
    outages.worked("never-failed")
    assert outages.failed("a", later) == later


def test_headers_when_the_public_url_is_http_ask_for_no_hsts() -> None:
    assert "Strict-Transport-Security" not in machine_headers(is_https=False)


def test_version_when_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(software, "version", missing)
    software.software_version.cache_clear()
    assert software.software_version() == "0+unknown"
    software.software_version.cache_clear()


def test_call_when_printed_shows_its_instance_only() -> None:
    request = HookRequest.from_json(a_hook_body(), hook="patient-view")
    call = HookCall("x", request, Caller(a_registration(), request.user_ref, NOW), TimeLimit(1))
    assert repr(call) == f"HookCall({request.hook_instance}, <redacted>)"


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers, root.level = handlers, level


def test_logging_when_configured_twice_has_one_json_handler(root_logger: logging.Logger) -> None:
    configure_logging("info")
    configure_logging("warning")
    (handler,) = root_logger.handlers
    assert isinstance(handler.formatter, JsonFormatter)
    assert root_logger.level == logging.WARNING
    assert logging.getLogger("authlib").level == logging.WARNING
    assert logging.getLogger("urllib3").level == logging.ERROR
