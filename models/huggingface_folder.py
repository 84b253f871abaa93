"""A folder in Hugging Face layout, checked and taken over as an encoder folder with a manifest."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cds.domain.errors import CdsError, Reason
from models.huggingface_graph import GraphReading
from models.huggingface_probe import Probed, Wishes, probe
from models.huggingface_processing import preprocessing_from_config
from models.manifest import (
    CONFIG_FILE,
    MODEL_FILE,
    PREPROCESSOR_FILE,
    Manifest,
    sha256_of,
)
from models.onnx_wire import refuse_unsafe_graph
from models.runtime import open_session

if TYPE_CHECKING:
    from pathlib import Path

CARD_FILE = "README.md"
MODEL_PLACES = (MODEL_FILE, f"onnx/{MODEL_FILE}")
MAXIMUM_MODEL_BYTES = 2 * 1024**3 - 1  # of one protocol buffer
MAXIMUM_TEXT_BYTES = 4 * 1024**2
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".h5"})


@dataclass(frozen=True, slots=True)
class Brought:
    """What was found in a folder, checked; nothing was written yet."""

    contents: Mapping[str, bytes]
    probed: Probed


def read_folder(folder: Path, wishes: Wishes) -> Brought:
    """Read and check a folder: graph, preprocessing, and both together on generated pictures.

    Parameters
    ----------
    folder
        With ``model.onnx`` or ``onnx/model.onnx``, ``config.json``, ``preprocessor_config.json``.
    wishes
        What is not to be detected.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE with a sentence that says what is missing or refused.

    """
    contents = {MODEL_FILE: _model_of(folder)}
    for name in (CONFIG_FILE, PREPROCESSOR_FILE):
        contents[name] = _text_of(folder / name)
    if (folder / CARD_FILE).is_file():
        contents[CARD_FILE] = _text_of(folder / CARD_FILE)
    return check_contents(contents, wishes)


def check_contents(contents: Mapping[str, bytes], wishes: Wishes) -> Brought:
    """Check files that were read already (see `read_folder`)."""
    refuse_unsafe_graph(contents[MODEL_FILE])
    config = _parsed(contents[CONFIG_FILE], CONFIG_FILE)
    processing = preprocessing_from_config(_parsed(contents[PREPROCESSOR_FILE], PREPROCESSOR_FILE))
    session = open_session(contents[MODEL_FILE])
    return Brought(contents, probe(session, processing, config, wishes))


def take_over(brought: Brought, store: Path, *, name: str, origin: str, created_on: str) -> Path:
    """Write the checked files as an encoder folder, whole or not at all; owner only.

    Parameters
    ----------
    brought
        What `read_folder` returned.
    store
        The folder of encoders.
    name
        Of the new one, lower case.
    origin
        For the manifest.
    created_on
        ISO date.

    Returns
    -------
    pathlib.Path
        The encoder folder.

    Raises
    ------
    CdsError
        INVALID_REQUEST if the name is taken or not usable.

    """
    target = store / checked_name(name)
    if target.exists():
        raise CdsError(Reason.INVALID_REQUEST, f"There is already an encoder named {name}.")
    reading: GraphReading = brought.probed.reading
    manifest = Manifest(
        name=name,
        created_on=created_on,
        dimension=brought.probed.dimension,
        files={file: sha256_of(content) for file, content in brought.contents.items()},
        graph=reading.to_manifest(),
        origin=origin,
    )
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    staging = store / f".{name}.{secrets.token_hex(4)}"
    staging.mkdir(mode=0o700)
    try:
        for file, content in brought.contents.items():
            _write(staging / file, content)
        manifest.write(staging)
        for path in staging.iterdir():
            path.chmod(0o600)
        _sync(staging)
        staging.rename(target)
        _sync(store)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def checked_name(name: str) -> str:
    """Return the name of an encoder if a folder may be called so; INVALID_REQUEST otherwise."""
    if NAME.fullmatch(name) is None:
        raise CdsError(
            Reason.INVALID_REQUEST,
            "An encoder's name has up to 64 lower-case letters, digits, dots, hyphens and "
            "underscores.",
        )
    return name


def _model_of(folder: Path) -> bytes:
    if not folder.is_dir():
        raise CdsError(Reason.MODEL_UNAVAILABLE, f"There is no folder {folder}.")
    found = [folder / place for place in MODEL_PLACES if (folder / place).is_file()]
    if not found:
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
        if pickles:
            raise CdsError(
                Reason.MODEL_UNAVAILABLE,
                f"{pickles[0]} may run code when it is opened, so it is not opened; export the "
                "model to ONNX (docs/bring-your-own-encoder.md).",
            )
        raise CdsError(
            Reason.MODEL_UNAVAILABLE,
            f"There is no model.onnx and no onnx/model.onnx in {folder}; export the model to ONNX "
            "(docs/bring-your-own-encoder.md).",
        )
    return _bounded(found[0], MAXIMUM_MODEL_BYTES)


def _text_of(path: Path) -> bytes:
    if not path.is_file():
        raise CdsError(Reason.MODEL_UNAVAILABLE, f"There is no {path.name} in {path.parent}.")
    return _bounded(path, MAXIMUM_TEXT_BYTES)


def _bounded(path: Path, limit: int) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise CdsError(
                Reason.MODEL_UNAVAILABLE, f"{path.name} is larger than {limit >> 20} MiB."
            )
        return path.read_bytes()
    except OSError as error:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE, f"{path.name} cannot be read: {error.strerror}."
        ) from error


def _parsed(content: bytes, name: str) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except ValueError as error:
        raise CdsError(Reason.MODEL_UNAVAILABLE, f"{name} is not JSON.") from error
    if not isinstance(parsed, dict):
        raise CdsError(Reason.MODEL_UNAVAILABLE, f"{name} is not a JSON object.")
    return parsed


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
