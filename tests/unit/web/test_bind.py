"""Development mode and the address that a server listens on."""

import pytest

from cds.domain.errors import CdsError, Reason
from cds.settings import Settings
from cds.web.bind import check_bind

Address = str | tuple[str, int]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:8000",
        "127.8.8.8",
        "localhost:8000",
        "[::1]:8000",
        "::1",
        "unix:/run/x.sock",
        "/run/x.sock",
        ("127.0.0.1", 8000),
    ],
)
def test_bind_when_in_development_accepts_loopback(address: Address) -> None:
    check_bind(Settings(development=True), address)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:8000", "[::]:8000", ":8000", "", "192.0.2.7:80", "a.invalid:80", ("0.0.0.0", 1)],
)
def test_bind_when_in_development_refuses_any_other(address: Address) -> None:
    with pytest.raises(CdsError) as caught:
        check_bind(Settings(development=True), address)
    assert caught.value.reason is Reason.INVALID_CONFIGURATION


def test_bind_when_not_in_development_accepts_any() -> None:
    check_bind(Settings(), "0.0.0.0:8000")
