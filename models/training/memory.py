"""Keeps freed memory in the process: a training step frees and takes the same gigabytes again."""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3) in glibc.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc not to give freed memory back to the system.

    By default each large array is mapped anew and its pages are cleared at first touch: half a
    million page faults per step of 32 pictures, more than a third of the processor time. The
    process keeps its largest size until it ends.

    Returns
    -------
    bool
        False where the C library has no ``mallopt``; nothing is changed then.

    References
    ----------
    mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.

    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
