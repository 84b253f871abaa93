"""200 hostile uploads through the page: each is a sentence, and the worker goes on as before."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from cds.adapters.decode_pool import DecodePool
from cds.adapters.dicom_files import frames_from_file
from smart_app.application import create_app
from tests.builders.hostile_uploads import (
    HostileBody,
    HostileFile,
    a_film,
    hostile_bodies,
    hostile_files,
)
from tests.fakes.clinician_door import Door, text_of
from tests.fakes.launch_engine import FakeLaunchEngine
from tests.integration.test_mutated_dicom import memory_mb
from tests.unit.smart_app.test_upload_pages import ADDRESS, send, token_of

MAX_WORKER_GROWTH_MB = 256
MAX_CHILD_MB = 1024


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(FakeLaunchEngine("https://ehr.example.invalid/fhir"))


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(1) as decoding:
        frames_from_file(a_film(), decoding=decoding)
        yield decoding


@pytest.fixture
def door(app: Flask, pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> Door:
    """Let the engine decode in a child, as the real one does."""
    monkeypatch.setattr(
        "tests.fakes.launch_engine.frames_from_file",
        lambda content, **_: frames_from_file(content, decoding=pool),
    )
    return Door(app)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work and keep temporary files in folders that are empty, with room above them."""
    (tmp_path / "a/b/c/work").mkdir(parents=True)
    (tmp_path / "a/b/c/temporary").mkdir()
    monkeypatch.chdir(tmp_path / "a/b/c/work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a/b/c/temporary"))
    return tmp_path


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


def check_answer(answer: TestResponse, label: str) -> None:
    text = text_of(answer.text)
    assert 400 <= answer.status_code < 500, f"{label}: {answer.status_code}"
    assert "Nothing was compared." in text or "refused" in text or "not sent by" in text, label
    for of_the_inside in ("Traceback", "pydicom", "PIL", "/usr/", "site-packages"):
        assert of_the_inside not in answer.text, label


@pytest.fixture(scope="module")
def files() -> tuple[HostileFile, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of the lies that it is made to write
        return tuple(hostile_files())


@pytest.fixture(scope="module")
def bodies() -> tuple[HostileBody, ...]:
    return tuple(hostile_bodies())


def test_there_are_two_hundred_of_them(
    files: tuple[HostileFile, ...], bodies: tuple[HostileBody, ...]
) -> None:
    labels = [file.label for file in files] + [body.label for body in bodies]
    assert len(labels) >= 200
    assert len(set(labels)) == len(labels)


def test_hostile_files_are_refused_in_a_sentence_and_leave_nothing(
    door: Door, pool: DecodePool, folders: Path, files: tuple[HostileFile, ...]
) -> None:
    before_mb, child_mb, n_read = memory_mb("self", "VmRSS"), 0, 0
    for file in files:
        answer = send(door, file.content, file.name)
        if file.may_be_read and answer.status_code == 200:
            n_read += 1
        else:
            check_answer(answer, file.label)
        assert file.name == "film.dcm" or file.name not in answer.text, file.label
        child_mb = max([child_mb, *(memory_mb(pid, "VmHWM") for pid in pool.child_pids)])
    assert n_read > 20
    assert files_below(folders) == []
    assert memory_mb("self", "VmRSS") - before_mb < MAX_WORKER_GROWTH_MB
    assert child_mb < MAX_CHILD_MB
    assert send(door, a_film()).status_code == 200


def test_hostile_bodies_are_refused_in_a_sentence_and_leave_nothing(
    door: Door, folders: Path, bodies: tuple[HostileBody, ...]
) -> None:
    before_mb = memory_mb("self", "VmRSS")
    for body in bodies:
        content = body.body.replace(b"{token}", token_of(door).encode())
        answer = door.client.post(ADDRESS, data=content, content_type=body.media_type)
        check_answer(answer, body.label)
    assert files_below(folders) == []
    assert memory_mb("self", "VmRSS") - before_mb < MAX_WORKER_GROWTH_MB
    assert send(door, a_film()).status_code == 200
