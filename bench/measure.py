"""Paired timing: the contenders take turns, and the medians are compared."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure: ours against a peer or a limit.

    Attributes
    ----------
    ratio
        Median over the rounds of ours / peer, in the unit that `what` names.
    target
        What the ratio should keep, as text; None where there is none.

    """

    what: str
    ratio: float
    ours: float
    peer: float
    unit: str
    target: str | None = None
    note: str = ""

    def line(self) -> str:
        """Return the figure as one line for a person."""
        target = f"  (target {self.target})" if self.target else ""
        note = f"  {self.note}" if self.note else ""
        return (
            f"{self.what:<58} {self.ratio:7.3f}{target}  "
            f"[{self.ours:.4g} / {self.peer:.4g} {self.unit}]{note}"
        )


def seconds(call: Callable[[], object]) -> float:
    """Return how long one call took, in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(
    ours: Callable[[], object], peer: Callable[[], object], *, rounds: int
) -> tuple[list[float], list[float]]:
    """Time both in turn, after one round that does not count; seconds per call."""
    ours(), peer()
    pairs = [(seconds(ours), seconds(peer)) for _ in range(rounds)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    """Return the median of the pairwise ratios."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def as_json(ratios: list[Ratio]) -> str:
    """Return the figures for a machine."""
    return json.dumps([asdict(ratio) for ratio in ratios], indent=1)
