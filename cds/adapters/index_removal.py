"""Removing index generations for good: after an erasure no older one may stay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine, delete
from sqlalchemy.orm import Session

from cds.adapters.generations import CURRENT, MANIFEST
from cds.adapters.sql.models import IndexGeneration
from cds.domain.erasure import RemovedFile


class GenerationRemoval:
    """Knows every generation of an index folder and removes all but one.

    Parameters
    ----------
    folder
        Of the index generations.
    engine
        Of the database that lists them.

    """

    def __init__(self, folder: Path, engine: Engine) -> None:
        self._folder = folder
        self._engine = engine

    def generation_ids(self) -> tuple[str, ...]:
        """Return the ids of the generations on the disk."""
        return tuple(path.name for path in self._others(None) if not path.name.startswith("."))

    def files_besides(self, kept: str | None) -> tuple[RemovedFile, ...]:
        """Return the files of every other generation, with the checksums of their manifests."""
        return tuple(
            RemovedFile(f"{self._folder.name}/{path.name}/{name}", digest)
            for path in self._others(kept)
            for name, digest in _manifest(path).items()
        )

    def remove_besides(self, kept: str | None) -> None:
        """Remove every other generation and what interrupted builds left; absent is fine.

        A process that maps a removed file keeps its content until it lets go of it.
        """
        if kept is None:
            (self._folder / CURRENT).unlink(missing_ok=True)
        for path in self._others(kept):
            shutil.rmtree(path, ignore_errors=True)
        query = delete(IndexGeneration)
        if kept is not None:
            query = query.where(IndexGeneration.generation_id != kept)
        with Session(self._engine) as session, session.begin():
            session.execute(query)

    def _others(self, kept: str | None) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from (
                path
                for path in sorted(self._folder.iterdir())
                if path.is_dir() and path.name != kept
            )


def _manifest(folder: Path) -> dict[str, str]:
    """Return file name -> SHA-256; empty for a folder that was never finished."""
    try:
        digests: dict[str, str] = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return digests
