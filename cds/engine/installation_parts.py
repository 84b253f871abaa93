"""Database, blobs, encoder, index and decoder: each is used once, as the server uses it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cds.adapters.dicom_files import frames_from_file
from cds.adapters.generations import GenerationFolder
from cds.adapters.sql.database_facts import database_facts
from cds.adapters.storage import Storage
from cds.domain.check_line import CheckLine, failed, passed, unknown, warned
from cds.domain.errors import CdsError
from cds.domain.pixels import PixelFrame
from cds.engine import generation_folder
from cds.engine.encoders import serving_folder_of
from cds.library.picture_preparation import to_png
from cds.settings import Settings
from models.embedder import OnnxImageEmbedder

TRIED_BYTES = 4096
TRIED_SIDE_PX = 256


def database_lines(settings: Settings) -> Iterator[CheckLine]:
    """Check that the database answers and has had this version's migrations."""
    name = "database"
    try:
        facts = database_facts(settings.effective_database_url)
    except CdsError as error:
        yield failed(
            name,
            error.sentence,
            "run: precedent init; else check PRECEDENT_DATABASE_URL, and that the server runs "
            "and lets this user in",
        )
        return
    evidence = f"{facts.backend} {facts.version}"
    if not facts.is_at_head:
        yield failed(name, f"{evidence}, not at this version's schema", "run: precedent init")
    elif facts.journal_mode not in {None, "wal"}:
        yield warned(
            name,
            f"{evidence}, journal mode {facts.journal_mode} instead of WAL",
            "keep the file on a local disk: network folders cannot do WAL",
        )
    else:
        wal = ", WAL" if facts.journal_mode else ""
        yield passed(name, f"{evidence}{wal}, at this version's schema")


def blob_lines(storage: Storage | None) -> Iterator[CheckLine]:
    """Check that a blob can be written, read back and deleted."""
    name = "blob store"
    if storage is None:
        yield unknown(name, "not tried: key file or database cannot be used")
        return
    content = secrets.token_bytes(TRIED_BYTES)
    try:
        key = storage.blobs.put(content)
        is_equal = storage.blobs.get(key) == content
        storage.blobs.delete(key)
    except (CdsError, OSError) as error:
        sentence = error.sentence if isinstance(error, CdsError) else type(error).__name__
        yield failed(
            name,
            f"a picture could not be written, read and deleted ({sentence})",
            "check PRECEDENT_BLOB_URL, its credentials and the rights on the folder",
        )
        return
    if not is_equal:
        yield failed(name, "what was read is not what was written", "check the storage below it")
        return
    yield passed(name, "a picture was written, read and deleted")


def encoder_lines(settings: Settings) -> Iterator[CheckLine]:
    """Check that the encoder is the one of its manifest."""
    name = "encoder"
    try:
        embedder = OnnxImageEmbedder.from_folder(_serving_folder(settings))
    except CdsError as error:
        yield failed(name, error.sentence, "install it again, or correct PRECEDENT_ENCODER_DIR")
        return
    yield passed(
        name, f"{embedder.encoder_name} matches its manifest ({embedder.encoder_hash[:12]})"
    )


def index_lines(settings: Settings) -> Iterator[CheckLine]:
    """Check that there is an index, undamaged and made with this encoder."""
    name = "index"
    try:
        passport = GenerationFolder(generation_folder(settings)).open_current().passport
    except CdsError as error:
        yield failed(name, error.sentence, "")
        return
    except OSError as error:
        yield failed(
            name, f"its files cannot be read ({type(error).__name__})", "check their rights"
        )
        return
    evidence = f"{passport.n_cases} cases, checksums and canaries agree"
    try:
        embedder = OnnxImageEmbedder.from_folder(_serving_folder(settings))
    except CdsError:
        yield unknown(name, f"{evidence}; the encoder cannot be compared")
        return
    if passport.encoder_hash != embedder.encoder_hash:
        yield failed(
            name,
            f"made with encoder {passport.encoder_name}, this installation has "
            f"{embedder.encoder_name}",
            "run: precedent library index",
        )
        return
    yield passed(name, f"{evidence}; made with this encoder")


def decoder_lines() -> Iterator[CheckLine]:
    """Check that the decoding process starts and decodes."""
    name = "decoder"
    noise = np.random.default_rng(0).random((TRIED_SIDE_PX, TRIED_SIDE_PX)).astype(np.float32)
    try:
        frames = frames_from_file(to_png(PixelFrame(noise, content_sha256=""))[2])
    except CdsError as error:
        yield failed(
            name,
            error.sentence,
            "the decoding process cannot work here: check memory limits and that child "
            "processes may be started",
        )
        return
    rows, columns = frames[0].pixels.shape
    yield passed(name, f"the decoding process decoded {rows} x {columns} pixels")


def _serving_folder(settings: Settings) -> Path:
    return serving_folder_of(settings, generation_folder(settings))
