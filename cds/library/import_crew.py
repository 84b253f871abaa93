"""How many files an import takes in at a time, and whether they get their vectors at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cds.library.catalogue import EmbeddingStore
from cds.ports import ImageEmbedder


@dataclass(frozen=True, slots=True)
class EmbeddingOnEntry:
    """What gives pictures their vectors while they are imported, and where these go."""

    embedder: ImageEmbedder
    embeddings: EmbeddingStore


@dataclass(frozen=True, slots=True)
class ImportCrew:
    """Who takes files in.

    Attributes
    ----------
    n_workers
        How many files are taken in at a time; 1 does everything in the caller's thread. Decoding
        has processes of its own; the rest of the work is done in threads, since numpy, zlib and the
        encoder let go of the interpreter while they compute.
    embedding
        None leaves the vectors to a later run.
    cases_together
        How many cases are added in one transaction, at most; 1 where the source wants to find each
        case in the catalogue when it is asked for the next row.

    Raises
    ------
    ValueError
        If there is no worker, or no case in a transaction.

    """

    n_workers: int = 1
    embedding: EmbeddingOnEntry | None = None
    cases_together: int = 1

    def __post_init__(self) -> None:
        if self.n_workers < 1:
            raise ValueError("an import needs a worker")
        if self.cases_together < 1:
            raise ValueError("a transaction holds a case")

    @contextmanager
    def threads(self) -> Iterator[Executor]:
        """Yield what takes files in; after an error nothing is left at work."""
        pool = _AtOnce() if self.n_workers == 1 else _threads(self.n_workers)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


ALONE = ImportCrew()


def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="import")


class _AtOnce(Executor):
    """Does what is submitted in the caller's thread; an error is raised there, not kept."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:  # noqa: ANN401  # as Executor has it
        """Call at once."""
        done: Future[Any] = Future()
        done.set_result(call(*args, **named))
        return done
