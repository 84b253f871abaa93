"""Index generations as folders: written beside, checksummed, switched atomically, never changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from cds.adapters.exact_index import ExactIndex
from cds.adapters.usearch_index import EXACT_PARTITION, UsearchIndex
from cds.domain.errors import CdsError, Reason
from cds.domain.generation import GenerationTable, IndexPassport
from cds.ports import VectorIndex

VECTORS, COLUMNS, PASSPORT, GRAPH, MANIFEST = (
    "vectors.npy",
    "columns.npz",
    "passport.json",
    "graph.usearch",
    "manifest.json",
)
CURRENT = "current"
TUNING_QUERIES = 200
KEPT_GENERATIONS = 2  # the current one, and the one before for readers that still have it open
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class OpenGeneration:
    """A verified generation, ready to be searched."""

    table: GenerationTable
    passport: IndexPassport
    index: VectorIndex


class GenerationFolder:
    """The folder that holds the generations and the pointer to the current one.

    Files are readable by the owner only: vectors are as sensitive as pictures.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, table: GenerationTable, passport: IndexPassport) -> IndexPassport:
        """Store a generation and make it current; a kill at any point leaves the old one current.

        Returns the passport as stored, with recall and expansion where a graph was built.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self._folder / passport.generation_id
        staging = self._folder / f".{passport.generation_id}.{os.getpid()}"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        stored = _write_files(staging, table, passport)
        if target.exists():
            shutil.rmtree(target)
        staging.replace(target)
        self._switch(passport.generation_id)
        self._forget_old(passport.generation_id)
        return stored

    def current_id(self) -> str | None:
        """Return the id of the current generation, or None before the first."""
        try:
            return (self._folder / CURRENT).read_text("ascii").strip() or None
        except FileNotFoundError:
            return None

    def open_current(self) -> OpenGeneration:
        """Verify and open the current generation.

        Raises
        ------
        CdsError
            INDEX_UNAVAILABLE if there is none, if a file is missing or does not match its
            checksum, or if a canary row no longer finds its neighbour.

        """
        generation_id = self.current_id()
        if generation_id is None:
            raise CdsError(
                Reason.INDEX_UNAVAILABLE,
                "There is no index yet; import a library with `precedent library import`.",
            )
        folder = self._folder / generation_id
        _verify(folder)
        passport = _read_passport(folder)
        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        with np.load(folder / COLUMNS, allow_pickle=False) as columns:
            table = GenerationTable(
                vectors=vectors, **{name: columns[name] for name in columns.files}
            )
        index: VectorIndex = ExactIndex(vectors)
        if passport.expansion_search is not None:
            index = UsearchIndex.view(
                folder / GRAPH, vectors, expansion_search=passport.expansion_search
            )
        _check_canaries(table, passport)
        return OpenGeneration(table, passport, index)

    def _switch(self, generation_id: str) -> None:
        beside = self._folder / f".{CURRENT}.{os.getpid()}"
        _write_synced(beside, generation_id.encode("ascii"))
        beside.replace(self._folder / CURRENT)
        _sync_folder(self._folder)

    def _forget_old(self, current: str) -> None:
        others = [p for p in self._folder.iterdir() if p.is_dir() and p.name != current]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[KEPT_GENERATIONS - 1 :]:
            shutil.rmtree(path, ignore_errors=True)


def _write_files(folder: Path, table: GenerationTable, passport: IndexPassport) -> IndexPassport:
    columns = {f.name: getattr(table, f.name) for f in fields(table) if f.name != "vectors"}
    np.save(folder / VECTORS, table.vectors, allow_pickle=False)
    np.savez(folder / COLUMNS, allow_pickle=False, **columns)
    stored = passport
    if table.vectors.shape[0] > EXACT_PARTITION:
        graph = UsearchIndex.build(np.ascontiguousarray(table.vectors))
        rng = np.random.default_rng(0)
        rows = rng.choice(table.vectors.shape[0], size=TUNING_QUERIES, replace=False)
        tuning = graph.tune(table.vectors[np.sort(rows)])
        graph.save(folder / GRAPH)
        stored = replace(
            passport,
            expansion_search=tuning.expansion_search,
            recall_at_10=tuning.recall_at_10,
        )
    _write_synced(folder / PASSPORT, json.dumps(asdict(stored), indent=1).encode())
    names = sorted(path.name for path in folder.iterdir())
    for name in names:
        (folder / name).chmod(0o600)
        _sync_file(folder / name)
    digests = {name: _sha256(folder / name) for name in names}
    _write_synced(folder / MANIFEST, json.dumps(digests, indent=1).encode())
    _sync_folder(folder)
    return stored


def _verify(folder: Path) -> None:
    try:
        digests: dict[str, str] = json.loads((folder / MANIFEST).read_text("utf-8"))
        damaged = [name for name, digest in digests.items() if _sha256(folder / name) != digest]
    except (OSError, ValueError):
        damaged = [MANIFEST]
    if damaged:
        raise CdsError(
            Reason.INDEX_UNAVAILABLE,
            "The index is damaged; rebuild it with `precedent library index`.",
            file=damaged[0],
        )


def _read_passport(folder: Path) -> IndexPassport:
    entries: dict[str, Any] = json.loads((folder / PASSPORT).read_text("utf-8"))
    entries["canaries"] = tuple((int(a), int(b)) for a, b in entries["canaries"])
    return IndexPassport(**entries)


def _check_canaries(table: GenerationTable, passport: IndexPassport) -> None:
    image = table.vectors[:, : passport.image_dimension]
    for row, expected in passport.canaries:
        products = image @ image[row]
        best_other = np.delete(products, row).max(initial=-np.inf)
        if products[expected] < best_other - 1e-5:
            raise CdsError(
                Reason.INDEX_UNAVAILABLE,
                "The index does not answer its canary queries; rebuild it with "
                "`precedent library index`.",
            )


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _write_synced(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_file(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
