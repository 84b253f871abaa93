"""Pictures as vectors in the database (the source of truth), and the index generations built."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, exists, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cds.adapters.crypto import FieldCipher
from cds.adapters.sql.case_rows import CaseRows
from cds.adapters.sql.models import CaseEmbeddingRow, CasePictureRow, IndexGeneration
from cds.domain.case import CasePicture
from cds.domain.errors import CdsError, Reason

Float32Array = NDArray[np.float32]
_STORED = np.dtype("<f4")


class SqlEmbeddings:
    """Vectors by picture and encoder; implements `cds.library.catalogue.EmbeddingStore`.

    A vector is as sensitive as its picture: it is encrypted, bound to picture and encoder.
    """

    def __init__(self, engine: Engine, rows: CaseRows, cipher: FieldCipher) -> None:
        self._engine = engine
        self._rows = rows
        self._cipher = cipher

    def pictures_without_embedding(self, encoder_hash: str) -> tuple[CasePicture, ...]:
        """Return the pictures that this encoder has not embedded, by id."""
        done = exists().where(
            CaseEmbeddingRow.picture_id == CasePictureRow.picture_id,
            CaseEmbeddingRow.encoder_hash == encoder_hash,
        )
        query = select(CasePictureRow).where(~done).order_by(CasePictureRow.picture_id)
        with Session(self._engine) as session:
            return tuple(self._rows.picture(row) for row in session.scalars(query))

    def add_embeddings(self, encoder_hash: str, vectors: Mapping[str, Float32Array]) -> None:
        """Keep vectors by picture id; one that is already there stays."""
        try:
            with Session(self._engine) as session, session.begin():
                session.add_all(self._row(encoder_hash, p, v) for p, v in vectors.items())
        except IntegrityError:
            if len(vectors) == 1:  # another process embedded it, or its picture was removed
                return
            for picture_id, vector in vectors.items():
                self.add_embeddings(encoder_hash, {picture_id: vector})

    def embeddings(self, encoder_hash: str) -> Mapping[str, Float32Array]:
        """Return the vectors of one encoder by picture id, each of shape ``(d,)``.

        Raises
        ------
        CdsError
            INVALID_CONFIGURATION if a vector does not decrypt to its stated length.

        """
        query = select(CaseEmbeddingRow).where(CaseEmbeddingRow.encoder_hash == encoder_hash)
        with Session(self._engine) as session:
            rows = session.scalars(query.execution_options(yield_per=2_000))
            return {row.picture_id: self._vector(row) for row in rows}

    def embeddings_of(
        self, encoder_hash: str, picture_ids: Sequence[str]
    ) -> Mapping[str, Float32Array]:
        """Return the vectors of some pictures, by picture id (see `embeddings`)."""
        query = select(CaseEmbeddingRow).where(
            CaseEmbeddingRow.encoder_hash == encoder_hash,
            CaseEmbeddingRow.picture_id.in_(picture_ids),
        )
        with Session(self._engine) as session:
            return {row.picture_id: self._vector(row) for row in session.scalars(query)}

    def add_generation(
        self,
        generation_id: str,
        *,
        passport_json: str,
        folder: str,
        created_at: datetime,
        base_sequence: int = 0,
        is_current: bool = True,
    ) -> None:
        """Note an index generation, current unless another encoder serves; an equal one stays."""
        with Session(self._engine) as session, session.begin():
            if is_current:
                session.execute(update(IndexGeneration).values(is_current=False))
            row = session.get(IndexGeneration, generation_id)
            if row is None:
                row = IndexGeneration(generation_id=generation_id)
                session.add(row)
            row.passport = passport_json
            row.folder = folder
            row.created_at = created_at
            row.base_sequence = base_sequence
            row.is_current = is_current

    def mark_current(self, generation_id: str) -> None:
        """Note that another generation, which is known already, is the current one."""
        with Session(self._engine) as session, session.begin():
            session.execute(
                update(IndexGeneration).values(
                    is_current=IndexGeneration.generation_id == generation_id
                )
            )

    def current_generation(self) -> tuple[str, datetime] | None:
        """Return the id and build time of the current index generation, or None."""
        query = select(IndexGeneration).where(IndexGeneration.is_current)
        with Session(self._engine) as session:
            row = session.scalars(query).first()
            return None if row is None else (row.generation_id, row.created_at)

    def passport_of(self, generation_id: str | None) -> Mapping[str, Any] | None:
        """Return what was noted of a generation; None asks for the current one."""
        query = select(IndexGeneration.passport).where(
            IndexGeneration.is_current
            if generation_id is None
            else IndexGeneration.generation_id == generation_id
        )
        with Session(self._engine) as session:
            text = session.scalars(query).first()
        noted: Mapping[str, Any] | None = None if text is None else json.loads(text)
        return noted

    def _row(self, encoder_hash: str, picture_id: str, vector: Float32Array) -> CaseEmbeddingRow:
        content = np.ascontiguousarray(vector, dtype=_STORED).tobytes()
        return CaseEmbeddingRow(
            picture_id=picture_id,
            encoder_hash=encoder_hash,
            dimension=vector.size,
            vector=self._cipher.encrypt(content, _place(picture_id, encoder_hash)),
            created_at=datetime.now(UTC),
        )

    def _vector(self, row: CaseEmbeddingRow) -> Float32Array:
        content = self._cipher.decrypt(row.vector, _place(row.picture_id, row.encoder_hash))
        if len(content) != row.dimension * _STORED.itemsize:
            raise CdsError(
                Reason.INVALID_CONFIGURATION, "A stored vector does not have its stated length."
            )
        return np.frombuffer(content, dtype=_STORED).astype(np.float32)


def _place(picture_id: str, encoder_hash: str) -> str:
    return f"case_embedding.vector:{picture_id}/{encoder_hash}"
