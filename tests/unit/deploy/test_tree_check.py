"""The check of tracked files sees what it is there for, and nothing else."""

import json

import pytest

from deploy.tree_check import MAX_BYTES, complaints


def a_notebook(**cell: object) -> bytes:
    return json.dumps({"cells": [{"cell_type": "code", **cell}]}).encode() + b"\n"


KEY = b"-----BEGIN " + b"EC PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        pytest.param("a.csv", b"x" * MAX_BYTES + b"\n", "more than", id="large"),
        pytest.param("models/x/weights.bin", b"\0" * (MAX_BYTES + 1), "more than", id="binary"),
        pytest.param("a.pem", KEY, "private key", id="key"),
        pytest.param("a.py", b"x = 1", "does not end", id="no-newline"),
        pytest.param("a.py", b"<<<<<<< " + b"ours\n", "merge conflict", id="conflict"),
        pytest.param("a.ipynb", a_notebook(outputs=[{"text": "x"}]), "outputs", id="output"),
        pytest.param("a.ipynb", a_notebook(execution_count=3), "outputs", id="was-run"),
        pytest.param("a.ipynb", a_notebook(attachments={"a.png": {}}), "outputs", id="attached"),
        pytest.param("a.ipynb", b"[]\n", "not a notebook", id="no-notebook"),
    ],
)
def test_complaints_when_a_file_is_wrong_name_it(name: str, content: bytes, said: str) -> None:
    found = list(complaints(name, content))
    assert len(found) == 1
    assert found[0].startswith(f"{name}: ")
    assert said in found[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.py", b"x = 1\n", id="text"),
        pytest.param("a.ipynb", a_notebook(outputs=[], execution_count=None), id="clean-notebook"),
        pytest.param("a.py", b"", id="empty"),
        pytest.param("a.png", b"\x89PNG\0\0", id="binary-needs-no-newline"),
        pytest.param("models/encoders/x/model.onnx", b"\0" * (MAX_BYTES + 1), id="shipped-encoder"),
    ],
)
def test_complaints_when_a_file_is_right_are_none(name: str, content: bytes) -> None:
    assert list(complaints(name, content)) == []
