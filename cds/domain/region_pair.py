"""Which two pictures of an answer a user wants to see laid beside each other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RegionPair:
    """A matched case of an answer, by its picture; the query's picture is the one it matched."""

    report_id: str
    case_id: str
    picture_id: str
