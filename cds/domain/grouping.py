"""Which items belong together, also through others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def joined_groups(
    keys: Sequence[Iterable[str]], pairs: Iterable[tuple[int, int]]
) -> NDArray[np.intp]:
    """Join what shares a key or is named as a pair, also through others.

    Parameters
    ----------
    keys
        One entry per item: what it must stay together by, such as its patient.
    pairs
        Pairs of indices that belong together, such as two copies of one film.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``; the group of each item is the index of its first member.

    Examples
    --------
    >>> joined_groups([["anna"], ["ben"], ["anna"], ["eve"]], [(1, 3)]).tolist()
    [0, 1, 0, 1]

    """
    parent = list(range(len(keys)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    def join(first: int, second: int) -> None:
        low, high = sorted((root(first), root(second)))
        parent[high] = low

    seen: dict[str, int] = {}
    for index, own in enumerate(keys):
        for key in own:
            join(index, seen.setdefault(key, index))
    for first, second in pairs:
        join(first, second)
    return np.array([root(index) for index in range(len(keys))], dtype=np.intp)
