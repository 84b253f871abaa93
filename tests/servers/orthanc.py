"""Debian's Orthanc with DICOMweb as a test's own PACS: on loopback, in a folder that goes away.

It listens on every address whatever it is told, and filters by the peer's: `RemoteAccessAllowed`
stays false, so that nobody else is served.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

INSTALL = "apt-get install --no-install-recommends orthanc orthanc-dicomweb"
PLUGINS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc")
READY_LIMIT_S = 60.0
ANSWER_LIMIT_S = 30.0


def orthanc_program() -> str | None:
    """The path of Orthanc, None where it or its DICOMweb plugin is missing."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
    return program if program and _dicomweb_plugin() else None


def _dicomweb_plugin() -> str | None:
    found = (p for folder in PLUGINS for p in sorted(Path(folder).glob("libOrthancDicomWeb.so*")))
    return next((str(p) for p in found), None)


class Orthanc:
    """A running Orthanc; a test stores, lists and deletes what it needs."""

    def __init__(self, port: int, auth: tuple[str, str] | None = None) -> None:
        self.port = port
        self.auth = auth

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def dicomweb_url(self) -> str:
        return f"{self.url}/dicom-web"

    def is_ready(self) -> bool:
        try:
            return self._asked("GET", "/system").status_code == 200
        except requests.ConnectionError:
            return False

    def store(self, *contents: bytes) -> int:
        """Store DICOM objects; returns how many it took."""
        headers = {"Content-Type": "application/dicom"}
        answers = [
            self._asked("POST", "/instances", data=content, headers=headers) for content in contents
        ]
        return sum(answer.status_code == 200 for answer in answers)

    def store_folder(self, folder: Path, pattern: str = "*.dcm") -> dict[str, bool]:
        """Store the files of a folder, and say of each whether it was taken."""
        files = sorted(folder.rglob(pattern))
        return {str(f.relative_to(folder)): self.store(f.read_bytes()) == 1 for f in files}

    def study_dates(self) -> dict[str, str]:
        """Study Instance UID -> Study Date, as stored."""
        tags = [study["MainDicomTags"] for study in self._asked("GET", "/studies?expand").json()]
        return {t["StudyInstanceUID"]: t.get("StudyDate", "") for t in tags}

    def n_instances(self) -> int:
        return len(self._asked("GET", "/instances").json())

    def delete_study(self, study_instance_uid: str) -> None:
        query = {"Level": "Study", "Query": {"StudyInstanceUID": study_instance_uid}}
        for found in self._asked("POST", "/tools/find", json=query).json():
            self._asked("DELETE", f"/studies/{found}").raise_for_status()

    def clear(self) -> None:
        """Delete everything."""
        for patient in self._asked("GET", "/patients").json():
            self._asked("DELETE", f"/patients/{patient}").raise_for_status()

    def _asked(self, method: str, path: str, **options: Any) -> requests.Response:
        # Orthanc ends a kept connection after a second without saying so, and until then one of its
        # threads waits for it, even where the client has gone.
        headers = {"Connection": "close", **options.pop("headers", {})}
        with requests.Session() as session:
            session.trust_env = False
            session.auth = self.auth
            return session.request(
                method, self.url + path, headers=headers, timeout=ANSWER_LIMIT_S, **options
            )


@contextmanager
def running_orthanc(
    folder: Path, *, auth: tuple[str, str] | None = None, **settings: Any
) -> Iterator[Orthanc]:
    """An Orthanc over an empty folder, ended afterwards.

    Parameters
    ----------
    folder
        Its own, for configuration, storage and log.
    auth
        User and password that it shall ask for.
    settings
        Of its configuration file; `DicomWeb` is merged.

    """
    program, plugin = orthanc_program(), _dicomweb_plugin()
    assert program is not None, INSTALL
    assert plugin is not None, INSTALL
    port = _free_port()
    configuration = {
        "Name": "PRECEDENT-TEST",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [plugin],
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "DicomServerEnabled": False,
        "AuthenticationEnabled": auth is not None,
        "RegisteredUsers": {auth[0]: auth[1]} if auth else {},
        "SslEnabled": False,
        "StorageCompression": False,
        "SyncStorageArea": False,  # nothing has to survive the machine
        "ConcurrentJobs": 1,
        "HttpThreadsCount": 16,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", **settings.pop("DicomWeb", {})},
        **settings,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration), "utf-8")
    log = (folder / "orthanc.log").open("wb")
    process = subprocess.Popen([program, str(path)], stdout=log, stderr=subprocess.STDOUT)
    server = Orthanc(port, auth)
    try:
        _wait_until_ready(server, process, folder / "orthanc.log")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_ready(server: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at_s = time.monotonic() + READY_LIMIT_S
    while not server.is_ready():
        if process.poll() is not None or time.monotonic() > give_up_at_s:
            raise AssertionError(f"Orthanc did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def shared_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One Orthanc for the whole run; `orthanc` hands it out empty."""
    from tests.conftest import missing

    if orthanc_program() is None:
        missing(f"Orthanc with DICOMweb is missing: {INSTALL}.")
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture
def orthanc(shared_orthanc: Orthanc) -> Orthanc:
    """An empty PACS that we did not write."""
    shared_orthanc.clear()
    return shared_orthanc
