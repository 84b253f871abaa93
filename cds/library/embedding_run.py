"""Give every picture of the library a vector of the current encoder."""

from __future__ import annotations

from collections.abc import Callable

from cds.domain.errors import CdsError
from cds.library.catalogue import EmbeddingStore
from cds.library.picture_preparation import from_png
from cds.ports import BlobStore, ImageEmbedder

BATCH = 32  # pictures decoded and embedded together


def embed_missing(
    embedder: ImageEmbedder,
    *,
    embeddings: EmbeddingStore,
    blobs: BlobStore,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Embed the pictures that this encoder has not embedded yet.

    Each batch is kept as soon as it is done: an interrupted run goes on where it stopped. A picture
    that cannot be embedded alone is left out; it is tried again by the next run.

    Parameters
    ----------
    embedder
        The current encoder.
    embeddings
        Which pictures lack a vector, and where vectors go.
    blobs
        Where the pictures are.
    progress
        Told how many of how many are done.

    Returns
    -------
    int
        How many were embedded.

    """
    waiting = embeddings.pictures_without_embedding(embedder.encoder_hash)
    n_embedded = 0
    for start in range(0, len(waiting), BATCH):
        batch = waiting[start : start + BATCH]
        frames = {p.picture_id: from_png(blobs.get(p.blob_key)) for p in batch}
        try:
            vectors = [e.vector for e in embedder.embed(list(frames.values()))]
            found = dict(zip(frames, vectors, strict=True))
        except CdsError:
            found = {}
            for picture_id, frame in frames.items():
                try:
                    found[picture_id] = embedder.embed([frame])[0].vector
                except CdsError:
                    continue
        embeddings.add_embeddings(embedder.encoder_hash, found)
        n_embedded += len(found)
        if progress is not None:
            progress(min(start + BATCH, len(waiting)), len(waiting))
    return n_embedded
