"""Messages to workers on Huey: the id of a job as JSON, nothing else, and never a pickle.

Huey's own serializer unpickles whatever lies in the queue, so that who can write to it can run code
in every worker. `JobIdSerializer` takes its place: it writes and reads one small JSON object, and
anything else in the queue is refused without being interpreted.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huey import storage
from huey.api import Huey
from huey.registry import Message
from huey.serializer import Serializer

from cds.domain.errors import CdsError, Reason

QUEUE_NAME = "precedent"
TASK_NAME = "run_job"
MAX_MESSAGE_BYTES = 1_000
REDIS_READ_TIMEOUT_S = 1
_JOB_ID = re.compile(r"[0-9a-f]{32}")
_TASK_ID = re.compile(r"[0-9a-f-]{36}")


class JobIdSerializer(Serializer):  # type: ignore[misc]  # huey ships no types
    """Turns a message that names a job into JSON, and back; refuses everything else."""

    def __init__(self, task: str) -> None:
        super().__init__()
        self._task = task

    def serialize(self, data: object) -> bytes:
        """Return the message as JSON.

        Raises
        ------
        TypeError
            If it is no message that names a job.

        """
        if not isinstance(data, Message) or data.name != self._task or len(data.args or ()) != 1:
            raise TypeError("only messages that name a job are queued")
        eta = None if data.eta is None else data.eta.isoformat()
        content = {"id": data.id, "job": data.args[0], "eta": eta, "priority": data.priority}
        return json.dumps(content).encode()

    def deserialize(self, data: Any) -> Message:  # noqa: ANN401  # bytes, or a view of them
        """Return the message.

        Raises
        ------
        ValueError
            If it is not exactly what `serialize` writes; nothing of it was interpreted.

        """
        content = bytes(data)
        if len(content) > MAX_MESSAGE_BYTES:
            raise ValueError("the queue holds a message that is too long")
        fields = _fields(content)
        eta = None if fields["eta"] is None else datetime.fromisoformat(fields["eta"])
        return Message(
            id=fields["id"],
            name=self._task,
            eta=eta,
            retries=0,
            retry_delay=0,
            priority=fields["priority"],
            args=(fields["job"],),
            kwargs={},
        )


def _fields(content: bytes) -> dict[str, Any]:
    """Return the members of a message, each checked.

    Raises
    ------
    ValueError
        If it is no message of ours.

    """
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        fields = None
    if (
        not isinstance(fields, dict)
        or fields.keys() != {"id", "job", "eta", "priority"}
        or not _TASK_ID.fullmatch(str(fields["id"]))
        or not _JOB_ID.fullmatch(str(fields["job"]))
        or not isinstance(fields["priority"], int | None)
        or not isinstance(fields["eta"], str | None)
    ):
        raise ValueError("the queue holds something that is no message of ours")
    return fields


class JobMessages:
    """Sends the ids of jobs, best first, and hands them to whoever runs them.

    Parameters
    ----------
    huey
        With `JobIdSerializer`; keeps no results.
    failures
        What its storage raises when it cannot be reached.

    """

    def __init__(self, huey: Huey, failures: tuple[type[Exception], ...]) -> None:
        self.huey = huey
        self.run: Callable[[str], None] = _nobody_runs
        self._failures = failures
        self._task = huey.task(name=TASK_NAME)(self._received)

    def send(self, job_id: str, *, rank: int, delay: timedelta = timedelta(0)) -> None:
        """Send the id of a job; a worker receives it after `delay`.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED if the queue cannot be written; the job itself is kept, and a worker
            sends it again.

        """
        task = self._task.s(job_id, priority=rank)
        if delay > timedelta(0):
            task = self._task.s(job_id, priority=rank, delay=delay)
        try:
            self.huey.enqueue(task)
        except self._failures as error:
            raise CdsError(
                Reason.UPSTREAM_FAILED,
                f"The queue of background jobs cannot be written ({type(error).__name__}).",
            ) from None

    def n_messages(self) -> int:
        """Return how many messages are queued now."""
        return int(self.huey.storage.queue_size())

    def _received(self, job_id: str) -> None:
        self.run(job_id)


def open_messages(queue_url: str, state_dir: Path) -> JobMessages:
    """Open the queue.

    Parameters
    ----------
    queue_url
        ``redis://`` or ``rediss://`` for several machines; empty means a SQLite file.
    state_dir
        Where that file lies.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if the URL is none, or its client is not installed.

    """
    serializer = JobIdSerializer(f"{__name__}.{TASK_NAME}")
    kept: dict[str, Any] = {"results": False, "serializer": serializer, "utc": True}
    if not queue_url:
        path = state_dir / "jobs.db"
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600, exist_ok=True)
        huey = Huey(QUEUE_NAME, storage_class=storage.SqliteStorage, filename=str(path), **kept)
        return JobMessages(huey, (sqlite3.Error, OSError))
    if urlsplit(queue_url).scheme not in {"redis", "rediss"}:
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            "PRECEDENT_QUEUE_URL begins with redis:// or rediss://, or is empty for a local file.",
        )
    if storage.Redis is None:  # Huey imports the client where it is installed
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            "PRECEDENT_QUEUE_URL names Redis, but its client is not installed: install redis.",
        )
    huey = Huey(
        QUEUE_NAME,
        storage_class=storage.PriorityRedisStorage,
        url=queue_url,
        blocking=True,
        read_timeout=REDIS_READ_TIMEOUT_S,
        **kept,
    )
    return JobMessages(huey, (storage.ConnectionError, storage.TimeoutError, OSError))


def _nobody_runs(_job_id: str) -> None:
    raise CdsError(Reason.INVALID_CONFIGURATION, "This process sends jobs and runs none.")
