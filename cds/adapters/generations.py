"""Index generations as folders: written beside, checksummed, switched atomically, never changed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from cds.adapters.exact_index import ExactIndex
from cds.adapters.graph_building import build_graph
from cds.adapters.usearch_index import UsearchIndex
from cds.domain.errors import CdsError, Reason
from cds.domain.generation import Float32Array, GenerationTable, IndexPassport
from cds.domain.picture_gate import GateClass, PictureGate
from cds.domain.projection import Projection, adapter_sha256
from cds.domain.similarity_limits import GroupLimit, PictureGroup
from cds.ports import VectorIndex

VECTORS, COLUMNS, PASSPORT, GRAPH, MANIFEST = (
    "vectors.npy",
    "columns.npz",
    "passport.json",
    "graph.usearch",
    "manifest.json",
)
ADAPTER = "adapter.npz"  # only in generations that have a site adapter
CURRENT = "current"
INDEX_FOLDER = "index"  # in the state folder
ANOTHER_ADAPTER = "another-adapter"
LATER_COLUMNS = frozenset({"gate_means", "gate_precision"})  # not in generations of format 1
KEPT_GENERATIONS = 2  # the current one, and the one before for readers that still have it open
OPEN_ATTEMPTS = 3  # a generation may be switched, and the old one removed, while it is being opened
# NumPy reports a short write without a number.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None})
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class OpenGeneration:
    """A verified generation, ready to be searched; `adapter` is what queries go through first."""

    table: GenerationTable
    passport: IndexPassport
    index: VectorIndex
    adapter: Projection | None = None

    @property
    def gate(self) -> PictureGate:
        """Return what tells whether a picture is like the library's at all."""
        table = self.table
        return PictureGate(self.passport.gate_classes, table.gate_means, table.gate_precision)


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
        stored = self.store(table, passport)
        self.switch(passport.generation_id)
        self.forget_others()
        return stored

    def store(
        self, table: GenerationTable, passport: IndexPassport, *, adapter: bytes | None = None
    ) -> IndexPassport:
        """Store a generation without making it current; one that is there unharmed stays.

        Only one process may write at a time (`cds.adapters.writer_lock`). `adapter` is the file of
        the site adapter that the passport names. Returns the passport as stored.

        Raises
        ------
        CdsError
            STORAGE_UNAVAILABLE if the folder cannot be written or its disk is full: what was
            current stays current.

        """
        try:
            return self._stored(table, passport, adapter)
        except OSError as error:
            self._sweep()
            sentence = "The index folder cannot be written; the present index stays in use."
            if error.errno in _FULL:
                sentence = "The index folder's disk is full; the present index stays in use."
            raise CdsError(Reason.STORAGE_UNAVAILABLE, sentence) from None

    def switch(self, generation_id: str) -> None:
        """Make a stored generation the current one."""
        self._point(CURRENT, generation_id)

    def _point(self, pointer: str, content: str) -> None:
        """Let a pointer name a generation, in one step."""
        beside = self._folder / f".{CURRENT}.{os.getpid()}"
        _write_synced(beside, content.encode("ascii"))
        beside.replace(self._folder / pointer)
        _sync_folder(self._folder)

    def forget_others(self, *, kept: int = KEPT_GENERATIONS) -> None:
        """Remove all but the current and the newest other generations, `kept` in all.

        A reader that has one of them open keeps it: its mapped files live until it lets go.
        After an erasure `kept` is 1: nothing of the erased case stays on the disk.
        """
        self._sweep()
        needed = {self.current_id()} if kept == 1 else {self.current_id(), *self.pointed_ids()}
        others = [p for p in self._folder.iterdir() if p.is_dir() and p.name not in needed]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[kept - 1 :]:
            shutil.rmtree(path, ignore_errors=True)

    def current_id(self) -> str | None:
        """Return the id of the current generation, or None before the first."""
        return _pointed_id(self._folder / CURRENT) or None

    def pointed_ids(self) -> frozenset[str]:
        """Return the ids of the generations in use: the current one, and other encoders'."""
        found = (_pointed_id(path) for path in self._folder.glob(f"{CURRENT}*"))
        return frozenset(found) - {""}

    def is_serving(self) -> bool:
        """Tell whether a generation that is switched to answers whoever names no encoder."""
        return True

    def open_current(self) -> OpenGeneration:
        """Verify and open the current generation.

        Raises
        ------
        CdsError
            INDEX_UNAVAILABLE if there is none, if a file is missing or does not match its
            checksum, or if a canary row no longer finds its neighbour.

        """
        for _ in range(OPEN_ATTEMPTS - 1):
            generation_id = self.current_id()
            try:
                return self._opened(generation_id)
            except CdsError:
                if self.current_id() == generation_id:
                    raise
        return self._opened(self.current_id())

    def _opened(self, generation_id: str | None) -> OpenGeneration:
        if generation_id is None:
            raise CdsError(
                Reason.INDEX_UNAVAILABLE,
                "There is no index yet; import a library with `precedent library import`.",
            )
        folder = self._folder / generation_id
        _verify(folder)
        passport = _read_passport(folder)
        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        table = _read_table(folder, vectors)
        index: VectorIndex = ExactIndex(vectors)
        if passport.expansion_search is not None:
            index = UsearchIndex.view(
                folder / GRAPH, vectors, expansion_search=passport.expansion_search
            )
        _check_canaries(table, passport)
        return OpenGeneration(table, passport, index, _read_adapter(folder, passport))

    def _stored(
        self, table: GenerationTable, passport: IndexPassport, adapter: bytes | None
    ) -> IndexPassport:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()
        target = self._folder / passport.generation_id
        if target.exists() and not _damaged_files(target):
            present = _read_passport(target)  # equal content has an equal id
            measured = (present.built_at, present.expansion_search, present.recall_at_10)
            if present == _with_measured(passport, *measured):
                return present
        staging = self._folder / f".{passport.generation_id}.{os.getpid()}"
        staging.mkdir(mode=0o700)
        if adapter is not None:
            (staging / ADAPTER).write_bytes(adapter)
        stored = _write_files(staging, table, passport)
        if target.exists():
            target.replace(self._folder / f".damaged.{passport.generation_id}.{os.getpid()}")
        staging.replace(target)
        _sync_folder(self._folder)
        self._sweep()
        return stored

    def _sweep(self) -> None:
        """Remove what a killed or failed writer left behind."""
        for path in self._folder.glob(".*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(f".{CURRENT}."):
                path.unlink(missing_ok=True)


def _pointed_id(pointer: Path) -> str:
    """Return the generation that a pointer names; nothing if it is not there.

    Behind the id a pointer may name the encoder (`cds.adapters.encoder_generations`).
    """
    try:
        return pointer.read_text("ascii").partition(" ")[0].strip()
    except FileNotFoundError:
        return ""


def _with_measured(
    passport: IndexPassport, built_at: str, expansion: int | None, recall: float | None
) -> IndexPassport:
    return replace(passport, built_at=built_at, expansion_search=expansion, recall_at_10=recall)


def _write_files(folder: Path, table: GenerationTable, passport: IndexPassport) -> IndexPassport:
    columns = {f.name: getattr(table, f.name) for f in fields(table) if f.name != "vectors"}
    np.save(folder / VECTORS, table.vectors, allow_pickle=False)
    np.savez(folder / COLUMNS, allow_pickle=False, **columns)
    graph = build_graph(table.vectors, folder / GRAPH)
    stored = replace(
        passport, expansion_search=graph.expansion_search, recall_at_10=graph.recall_at_10
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


def _damaged_files(folder: Path) -> list[str]:
    """Return the files that are missing or do not match their checksum, all hashed at once."""
    try:
        digests: dict[str, str] = json.loads((folder / MANIFEST).read_text("utf-8"))
        names = sorted(digests)
        with ThreadPoolExecutor(len(names)) as pool:
            found = list(pool.map(_sha256, [folder / name for name in names]))
        damaged = [n for n, digest in zip(names, found, strict=True) if digests[n] != digest]
        missing = sorted({VECTORS, COLUMNS, PASSPORT} - digests.keys())
    except (OSError, ValueError, AttributeError):
        return [MANIFEST]
    return damaged + missing


def _verify(folder: Path) -> None:
    damaged = _damaged_files(folder)
    if damaged:
        raise CdsError(
            Reason.INDEX_UNAVAILABLE,
            "The index is damaged; rebuild it with `precedent library index`.",
            file=damaged[0],
        )


def _read_table(folder: Path, vectors: Float32Array) -> GenerationTable:
    with np.load(folder / COLUMNS, allow_pickle=False) as columns:
        held = {name: columns[name] for name in columns.files}
    known = {column.name for column in fields(GenerationTable)}
    if not known - LATER_COLUMNS <= held.keys() | {"vectors"} <= known:
        raise CdsError(
            Reason.INDEX_UNAVAILABLE,
            "The index was built by another version; rebuild it with `precedent library index`.",
        )
    return GenerationTable(vectors=vectors, **held)


def _read_passport(folder: Path) -> IndexPassport:
    entries: dict[str, Any] = json.loads((folder / PASSPORT).read_text("utf-8"))
    entries["canaries"] = tuple((int(a), int(b)) for a, b in entries["canaries"])
    entries["group_limits"] = tuple(map(_group_limit, entries.get("group_limits", ())))
    entries["gate_classes"] = tuple(
        GateClass(PictureGroup(**one["group"]), float(one["limit"]), int(one["n_patients"]))
        for one in entries.get("gate_classes", ())
    )
    return IndexPassport(**entries)


def _read_adapter(folder: Path, passport: IndexPassport) -> Projection | None:
    """Return the site adapter that the passport names; refuse any other."""
    file = folder / ADAPTER
    if passport.adapter_sha256 is None and not file.exists():
        return None
    try:
        content = file.read_bytes()
        adapter = Projection.from_npz(content)
        fits = (
            adapter_sha256(content) == passport.adapter_sha256
            and adapter.record.encoder_hash == passport.encoder_hash
            and adapter.dimension == passport.image_dimension
        )
    except (OSError, ValueError):
        fits = False
    if not fits:
        raise CdsError(
            Reason.INDEX_UNAVAILABLE,
            "The site adapter is not the one that the index was built with; fit it again with "
            "`precedent models adapt`, or go back with `precedent models adapt --remove`.",
            trouble=ANOTHER_ADAPTER,
        )
    return adapter


def _group_limit(entry: dict[str, Any]) -> GroupLimit:
    basis = entry["estimated_on"]
    return GroupLimit(
        PictureGroup(**entry["group"]),
        float(entry["limit"]),
        int(entry["n_patients"]),
        None if basis is None else PictureGroup(**basis),
    )


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
