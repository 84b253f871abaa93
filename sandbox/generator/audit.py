"""Print what the table gives away without any picture: ``python -m sandbox.generator.audit``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sandbox.generator.labs import INHALED_OXYGEN
from sandbox.generator.library import DEFAULT_SEED
from sandbox.generator.parameters import parameters
from sandbox.generator.patients import CaseRecord, draw_cases

_K = 5


@dataclass(frozen=True, slots=True)
class Leak:
    """What one kind of feature alone retrieves.

    Attributes
    ----------
    precision_at_5
        Share of the five nearest other patients with the same condition.
    chance
        The same for random neighbours.

    """

    name: str
    precision_at_5: float
    chance: float


def _home_codes() -> dict[str, tuple[str, float]]:
    """Return the second hospital's codes and units as (first hospital's code, factor)."""
    site_b = parameters("labs")["site_b"]
    return {other: (ours, float(factor)) for ours, (other, _, factor) in site_b.items()}


def lab_table(cases: Sequence[CaseRecord]) -> npt.NDArray[np.float64]:
    """Return values in the first hospital's units, NaN if not tested; shape (n cases, n labs)."""
    codes = [*parameters("labs")["lab"], INHALED_OXYGEN]
    back = _home_codes()
    table = np.full((len(cases), len(codes)), np.nan)
    for row, case in enumerate(cases):
        for lab in case.labs:
            code, factor = (
                back.get(lab.loinc, (lab.loinc, 1.0)) if case.is_site_b else (lab.loinc, 1.0)
            )
            table[row, codes.index(code)] = lab.value / factor
    return table


def _precision(distance: npt.NDArray[np.float64], labels: list[str], people: list[int]) -> float:
    """Return the mean share of same-label cases among the five nearest of other people."""
    same_person = np.equal.outer(people, people)
    hidden = np.where(same_person, np.inf, distance)
    nearest = np.argsort(hidden, axis=1, kind="stable")[:, :_K]
    names = np.array(labels)
    return float((names[nearest] == names[:, None]).mean())


def leaks(cases: Sequence[CaseRecord]) -> tuple[Leak, Leak]:
    """Return what the pattern of missing labs alone, and the labs alone, retrieve.

    Parameters
    ----------
    cases
        The library.

    Returns
    -------
    tuple of Leak
        Mask only (Hamming distance); labs only (mean squared difference of scaled values over the
        labs that both have).

    """
    labels, people = [c.condition_key for c in cases], [c.person for c in cases]
    table = lab_table(cases)
    known = ~np.isnan(table)
    mask = known.astype(np.float64)
    ties = np.random.default_rng(0).random((len(cases), len(cases))) * 1e-6
    hamming = mask @ (1 - mask).T + (1 - mask) @ mask.T + ties
    logged = np.log1p(np.where(known, np.maximum(table, 0), np.nan))
    scaled = (logged - np.nanmean(logged, axis=0)) / (np.nanstd(logged, axis=0) + 1e-9)
    filled = np.where(known, scaled, 0.0)
    both = mask @ mask.T
    squared = (filled**2) @ mask.T + mask @ (filled**2).T - 2 * filled @ filled.T
    distance = np.where(both > 0, squared / np.maximum(both, 1), np.inf) + ties
    counts = np.unique(labels, return_counts=True)[1] / len(cases)
    chance = float((counts**2).sum())
    return (
        Leak("mask only", _precision(hamming, labels, people), chance),
        Leak("labs only", _precision(distance, labels, people), chance),
    )


def main() -> None:
    """Print one line per kind of feature."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.generator.audit", description=__doc__)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    cases = draw_cases(parser.parse_args().seed)
    for leak in leaks(cases):
        print(
            f"{leak.name}: P@5 {leak.precision_at_5:.3f} "
            f"(chance {leak.chance:.3f}, {len(cases)} cases)"
        )


if __name__ == "__main__":
    main()
