"""Progress of a long command: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_LINE_EVERY = 200  # steps


class Steps:
    """A context in which steps of one piece of work are shown."""

    def __init__(self, console: Console, title: str, total: int | None = None) -> None:
        self._console = console
        self._title = title
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, n_done: int, total: int | None = None, detail: str = "") -> None:
        """Show how many steps are done."""
        if self._bar is not None:
            text = f"{self._title} {detail}".strip()
            self._bar.update(self._task, completed=n_done, total=total, description=text)
        elif n_done % PLAIN_LINE_EVERY == 0 or n_done == total:
            of_total = f" of {total}" if total is not None else ""
            self._console.print(f"{self._title}: {n_done}{of_total} {detail}".rstrip())

    def advance(self, *, n_done: int, n_cases: int, n_quarantined: int) -> None:
        """Show how far an import is (`cds.library.import_run.Progress`)."""
        self.show(n_done, detail=f"({n_cases} new cases, {n_quarantined} quarantined)")
