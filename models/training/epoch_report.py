"""What is measured, recorded and said after each epoch."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from models.preprocessing import Preprocessing
from models.training.comparison import Comparison
from models.training.features import embeddings_of
from models.training.recipe import Recipe
from models.training.run_record import RunRecord

if TYPE_CHECKING:
    from models.training.mobilenet import RetrievalEncoder

_LONG_S = 120.0


class Reporter(Protocol):
    """Tells a person how far a run is."""

    def say(self, sentence: str) -> None:
        """Say what has happened."""
        ...

    def show(self, title: str, n_done: int, total: int) -> None:
        """Show how many steps of something are done."""
        ...


@dataclass(kw_only=True, slots=True, eq=False)
class EpochReport:
    """Called after each epoch; returns the value that patience looks at.

    Attributes
    ----------
    validation
        The held-out side, searched in itself; None where it is trained on too.
    squares
        Its pictures, ``(n, size, size)``, uint8.
    preprocessing, recipe
        Of the run.
    stop_on
        ``P@5`` or ``AUROC``.
    record, reporter
        Where the figures go.

    """

    validation: Comparison | None
    squares: NDArray[np.uint8]
    preprocessing: Preprocessing
    recipe: Recipe
    stop_on: str
    record: RunRecord
    reporter: Reporter
    _began: float = field(default_factory=time.monotonic)

    def __call__(self, epoch: int, loss: float, current: RetrievalEncoder) -> float | None:
        """Measure the encoder that would be kept now."""
        value = None
        if self.validation is not None:
            vectors = embeddings_of(current, self.squares, self.preprocessing)
            found = self.validation.value(vectors, self.stop_on)
            value = None if math.isnan(found) else found
        took_s, self._began = time.monotonic() - self._began, time.monotonic()
        self.record.add_epoch(
            epoch,
            **{"loss": loss, "took_s": round(took_s, 1), f"validation {self.stop_on}": value},
        )
        measured = "" if value is None else f", validation {self.stop_on} {value:.3f}"
        left_s = took_s * (self.recipe.n_epochs - epoch)
        left = f"; at most {_duration(left_s)} left" if epoch and left_s else ""
        self.reporter.say(
            f"{self._named(epoch)}: loss {loss:.3f}{measured}, {_duration(took_s)}{left}."
        )
        if epoch > 0:
            self.reporter.show("Training", epoch, self.recipe.n_epochs)
        return value

    def _named(self, epoch: int) -> str:
        """Name an epoch for a person."""
        if epoch < 0:
            n_epochs = self.recipe.n_self_supervised_epochs
            return f"Warm-up epoch {n_epochs + epoch + 1} of {n_epochs}"
        return f"Epoch {epoch} of {self.recipe.n_epochs}" if epoch else "Projection fitted"


def _duration(seconds: float) -> str:
    """Say a time in a person's unit."""
    return f"{seconds:.0f} s" if seconds < _LONG_S else f"{seconds / 60.0:.0f} min"
