"""Child processes of the demo: started with a log of their own, watched, and stopped together."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cds.domain.errors import CdsError, Reason

LOOPBACK = "127.0.0.1"
LAST_LINES = 12
STOP_PATIENCE_S = 10.0
_POLL_S = 0.1
_PROBE_TIMEOUT_S = 2.0


def environment_of_child(changes: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with changes, for a process that it starts."""
    return dict(os.environ) | dict(changes)  # noqa: TID251  # a child inherits its environment


@dataclass(slots=True)
class Child:
    """One process that the demo has started.

    Attributes
    ----------
    name
        What a person calls it.
    log_path
        File that takes its output.
    stop_signal
        What ends it at once and in order.

    """

    name: str
    log_path: Path
    process: subprocess.Popen[bytes]
    stop_signal: signal.Signals

    def last_lines(self) -> str:
        """Return the end of its log."""
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])


@dataclass(slots=True)
class Children:
    """The processes of one demo; leaving the block stops them, last one first."""

    log_dir: Path
    running: list[Child] = field(default_factory=list)

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> Child:
        """Start a process whose output goes to a log file."""
        log_path = self.log_dir / f"{name}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  # the command is the demo's own
                command,
                env=environment_of_child(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child = Child(name, log_path, process, stop_signal)
        self.running.append(child)
        return child

    def refuse_death(self) -> None:
        """Raise if any process has ended.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED that names the process and shows the end of its log.

        """
        for child in self.running:
            code = child.process.poll()
            if code is not None:
                raise CdsError(
                    Reason.UPSTREAM_FAILED,
                    f"The {child.name} has stopped with exit status {code}. The last lines of "
                    f"{child.log_path}:\n{child.last_lines()}",
                )

    def wait_until_answers(self, port: int, path: str, *, patience_s: float) -> None:
        """Wait until a server answers 200.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED if a process dies meanwhile, or the time is over.

        """
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            self.refuse_death()
            if _answers(port, path):
                return
            time.sleep(_POLL_S)
        raise CdsError(
            Reason.UPSTREAM_FAILED,
            f"Nothing is ready on port {port} after {patience_s:.0f} s; see {self.log_dir}.",
        )

    def stop(self) -> None:
        """Ask every process to end, and end it if it does not."""
        for child in reversed(self.running):
            child.process.send_signal(child.stop_signal)
        for child in reversed(self.running):
            try:
                child.process.wait(STOP_PATIENCE_S)
            except subprocess.TimeoutExpired:
                os.killpg(child.process.pid, signal.SIGKILL)  # with the workers that it forked
                child.process.wait()
        self.running.clear()


@contextmanager
def children(log_dir: Path) -> Iterator[Children]:
    """Give processes to a block, and stop them when it is left in any way."""
    log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    started = Children(log_dir)
    try:
        yield started
    finally:
        started.stop()


def run_to_end(command: Sequence[str], environment: Mapping[str, str], *, what: str) -> None:
    """Run a step of the set-up, its progress on the screen.

    Raises
    ------
    CdsError
        UPSTREAM_FAILED if it ends with another status than 0.

    """
    done = subprocess.run(  # noqa: S603  # the command is the demo's own
        command, env=environment_of_child(environment), check=False
    )
    if done.returncode != 0:
        raise CdsError(
            Reason.UPSTREAM_FAILED,
            f"The demo could not {what}; what is above says why (exit status {done.returncode}).",
        )


def refuse_taken_port(port: int, option: str) -> None:
    """Raise if a port is in use.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION that names the option to change.

    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise CdsError(
                Reason.INVALID_CONFIGURATION,
                f"Port {port} is in use; stop what uses it, or choose another with {option}.",
            ) from None


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Host": f"{LOOPBACK}:{port}"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
