"""The site adapter in use: noted with the index generation, its file kept encrypted beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from cds.adapters.generations import GenerationFolder
from cds.adapters.sql.erasure import SqlErasures
from cds.adapters.storage import Storage
from cds.domain.errors import CdsError, Reason
from cds.domain.projection import AdapterRecord, Projection, adapter_sha256

NOTE = "adapter"  # in the noted passport of a generation
LOST = (
    "The site adapter cannot be read; fit it again with `precedent models adapt`, or go back with "
    "`precedent models adapt --remove`."
)


@dataclass(frozen=True, slots=True)
class AdapterNote:
    """What the database knows of the adapter in use.

    Attributes
    ----------
    sha256
        Of its file.
    blob_key
        Where the file is kept.
    record
        How it came about.

    """

    sha256: str
    blob_key: str
    record: AdapterRecord

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as they are noted."""
        return asdict(self)


class SiteAdapters:
    """Keeps and finds the adapter behind the encoder.

    The database's note of the present generation says which one is in use; its bytes lie in the
    blob store, so that an index can be built anew when its folder is damaged or gone.
    """

    def __init__(self, storage: Storage, generations: GenerationFolder) -> None:
        self._storage = storage
        self._generations = generations

    def in_use(self) -> AdapterNote | None:
        """Return the adapter of the present generation, or None; nothing is decrypted."""
        embeddings = self._storage.embeddings
        current = self._generations.current_id()
        noted = None if current is None else embeddings.passport_of(current)
        if noted is None:  # the folder is gone, or is not of this state of the database
            noted = embeddings.passport_of(None) or {}
        return _note(noted.get(NOTE))

    def keep(self, adapter: Projection) -> AdapterNote:
        """Store an adapter's file; it is not in use before a generation is built with it."""
        content = adapter.to_npz()
        key = self._storage.blobs.put(content)
        return AdapterNote(adapter_sha256(content), key, adapter.record)

    def content(self, note: AdapterNote) -> bytes:
        """Return an adapter's file.

        Raises
        ------
        CdsError
            INDEX_UNAVAILABLE if it is missing or is not what was noted.

        """
        try:
            content = self._storage.blobs.get(note.blob_key)
        except CdsError as error:
            if error.reason is Reason.STORAGE_UNAVAILABLE:
                raise
            raise CdsError(Reason.INDEX_UNAVAILABLE, LOST) from None
        if adapter_sha256(content) != note.sha256:
            raise CdsError(Reason.INDEX_UNAVAILABLE, LOST)
        return content

    def n_erased_since_fit(self, note: AdapterNote) -> int:
        """Return how many patients were erased since: any makes it due for a refit."""
        storage = self._storage
        erasures = SqlErasures(storage.engine, storage.cipher, storage.rows)
        return erasures.n_erased_since(datetime.fromisoformat(note.record.fitted_at))


def _note(values: Mapping[str, Any] | None) -> AdapterNote | None:
    if values is None:
        return None
    return AdapterNote(values["sha256"], values["blob_key"], AdapterRecord(**values["record"]))
