"""Composition of a bulk import: several decoding processes, threads that embed as they go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from threadpoolctl import threadpool_limits

from cds.adapters.decode_pool import DecodePool
from cds.adapters.dicom_files import frames_from_file
from cds.adapters.generations import INDEX_FOLDER
from cds.adapters.storage import Storage
from cds.engine.deidentification import shipped_deidentifier
from cds.engine.encoders import serving_folder_of
from cds.library.import_crew import EmbeddingOnEntry, ImportCrew
from cds.library.import_run import LibraryImport
from cds.settings import Settings
from models.embedder import OnnxImageEmbedder

CASES_TOGETHER = 32  # in one transaction
MOST_WORKERS = 8  # beyond, one writer to the database is what everything waits for


def usual_workers() -> int:
    """Return how many files are taken in at a time unless somebody says otherwise."""
    return max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0))))


@contextmanager
def bulk_import(
    settings: Settings,
    storage: Storage,
    *,
    n_workers: int,
    embeds: bool,
    writing_reviewed: bool = False,
) -> Iterator[LibraryImport]:
    """Yield an import whose files are decoded and embedded by several workers.

    Parameters
    ----------
    settings, storage
        Of this installation.
    n_workers
        Files at a time; each has a decoding process of its own.
    embeds
        Give each picture its vector at once; False leaves that to a later run.
    writing_reviewed
        A person has declared that the writing on the pictures names nobody.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if the encoder or the text detector is missing or was changed.

    """
    embedding = None
    if embeds:
        encoder = OnnxImageEmbedder.from_folder(
            serving_folder_of(settings, settings.state_dir / INDEX_FOLDER)
        )
        embedding = EmbeddingOnEntry(encoder, storage.embeddings)
    deidentifier = shipped_deidentifier(storage.keys, writing_reviewed=writing_reviewed)
    # Each worker computes on one core: threads of BLAS beside them would wait for each other.
    with threadpool_limits(1), DecodePool(n_workers) as pool:
        pool.start()
        yield LibraryImport(
            catalogue=storage.catalogue,
            blobs=storage.blobs,
            keys=storage.keys,
            reader=partial(frames_from_file, decoding=pool),
            deidentifier=deidentifier,
            crew=ImportCrew(n_workers, embedding, CASES_TOGETHER),
        )
