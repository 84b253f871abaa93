"""`precedent models add OWNER/NAME` against a hub on this machine that speaks the same HTTP."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cds.adapters.model_hub import download
from cds.cli.main import main
from cds.domain.errors import CdsError, Reason
from cds.settings import Settings
from models.encoder_registry import STORE_FOLDER
from models.manifest import read_manifest
from tests.builders.huggingface_folders import a_vit

REVISION = "a" * 40
NAME = "owner/tiny-vit"
LOOPBACK = "127.0.0.0/8"


class Hub(ThreadingHTTPServer):
    """Serves files below `/OWNER/NAME/resolve/REVISION/`; large ones by a redirect, as hubs do."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.asked: list[tuple[str, str | None]] = []
        self.content_origin = self.origin
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        prefix = f"/{NAME}/resolve/{REVISION}/"
        name = self.path.removeprefix("/content/").removeprefix(prefix)
        content = self.server.files.get(name)
        if content is None:
            self._answer(404, b"")
        elif name.endswith(".onnx") and self.path.startswith(prefix):
            self.send_response(302)
            self.send_header("Location", f"{self.server.content_origin}/content/{name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._answer(200, content)

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    folder = a_vit(tmp_path / "vit")
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {"onnx/model.onnx": found.pop("model.onnx"), **found}


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[Hub]:
    served = Hub(files)
    yield served
    served.close()


def settings(tmp_path: Path, hub: str, networks: str = LOOPBACK) -> Settings:
    return Settings(
        state_dir=tmp_path / "state",
        model_hub=hub,
        model_hub_networks=networks,
        development=True,
    )


def checksum(files: dict[str, bytes]) -> str:
    return hashlib.sha256(files["onnx/model.onnx"]).hexdigest()


def test_download_when_pinned_fetches_the_files_without_credentials(
    tmp_path: Path, hub: Hub, files: dict[str, bytes]
) -> None:
    found = download(settings(tmp_path, hub.origin), NAME, REVISION, checksum(files))
    assert found["model.onnx"] == files["onnx/model.onnx"]
    assert found["config.json"] == files["config.json"]
    assert "README.md" not in found
    assert all(REVISION in path or path.startswith("/content/") for path, _ in hub.asked)
    assert {credential for _, credential in hub.asked} == {None}


def test_download_when_the_graph_is_another_one_is_refused(tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(CdsError, match="not the one with this checksum") as refused:
        download(settings(tmp_path, hub.origin), NAME, REVISION, "0" * 64)
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


def test_download_when_the_hub_leads_to_a_host_that_is_not_allowed_is_refused(
    tmp_path: Path, hub: Hub, files: dict[str, bytes]
) -> None:
    other = Hub(files)
    hub.content_origin = other.origin
    with pytest.raises(CdsError) as refused:
        download(settings(tmp_path, hub.origin), NAME, REVISION, checksum(files))
    assert refused.value.reason is Reason.EGRESS_REFUSED
    assert other.asked == []
    allowed = settings(tmp_path, f"{hub.origin}, {other.origin}")
    assert download(allowed, NAME, REVISION, checksum(files))
    assert len(other.asked) == 1
    other.close()


def test_download_when_the_hub_is_in_a_network_not_named_is_refused(
    tmp_path: Path, hub: Hub, files: dict[str, bytes]
) -> None:
    with pytest.raises(CdsError) as refused:
        download(settings(tmp_path, hub.origin, networks=""), NAME, REVISION, checksum(files))
    assert refused.value.reason is Reason.EGRESS_REFUSED
    assert hub.asked == []


@pytest.mark.parametrize(
    ("name", "revision", "sha256", "said"),
    [
        (NAME, "main", "0" * 64, "40 hexadecimal digits"),
        (NAME, None, "0" * 64, "40 hexadecimal digits"),
        (NAME, REVISION, None, "--sha256"),
        ("../x/y", REVISION, "0" * 64, "OWNER/NAME"),
    ],
)
def test_download_when_it_is_not_pinned_asks_nobody(
    tmp_path: Path, hub: Hub, name: str, revision: str | None, sha256: str | None, said: str
) -> None:
    with pytest.raises(CdsError, match=said):
        download(settings(tmp_path, hub.origin), name, revision, sha256)
    assert hub.asked == []


def test_download_when_no_hub_is_allowed_says_which_setting(tmp_path: Path) -> None:
    with pytest.raises(CdsError, match="PRECEDENT_MODEL_HUB") as refused:
        download(settings(tmp_path, ""), NAME, REVISION, "0" * 64)
    assert refused.value.reason is Reason.INVALID_CONFIGURATION


def test_download_without_network_says_to_bring_the_folder(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nobody listens
        nobody = f"http://127.0.0.1:{bound.getsockname()[1]}"
    with pytest.raises(CdsError, match="bring it here"):
        download(settings(tmp_path, nobody), NAME, REVISION, "0" * 64)


def test_command_adds_what_it_downloaded_with_its_revision(
    tmp_path: Path,
    hub: Hub,
    files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = tmp_path / "state"
    for name, value in {
        "PRECEDENT_STATE_DIR": str(state),
        "PRECEDENT_MODEL_HUB": hub.origin,
        "PRECEDENT_MODEL_HUB_NETWORKS": LOOPBACK,
        "PRECEDENT_DEVELOPMENT": "true",
    }.items():
        monkeypatch.setenv(name, value)
    assert main(["init"]) == 0
    command = ["models", "add", NAME, "--revision", REVISION, "--sha256", checksum(files)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "tiny-vit: added" in said
    assert "pooling cls" in said
    made = read_manifest(state / STORE_FOLDER / "tiny-vit")
    assert made.origin == f"{NAME}@{REVISION}"
    assert main(command) == 2
    assert "already an encoder named tiny-vit" in capsys.readouterr().err
