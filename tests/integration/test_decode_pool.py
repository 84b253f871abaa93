"""Several children decode at once; each is confined, and a lost one is replaced."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cds.adapters.decode_pool import DecodePool
from cds.adapters.dicom_decoding import DEFAULT_LIMITS, DecodeLimits
from cds.adapters.dicom_files import frames_from_file
from cds.domain.errors import CdsError, Reason
from tests.builders.dicom import a_dicom_instance, a_picture_file, a_ramp


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    with DecodePool(2) as decoding:
        yield decoding


def test_many_pictures_at_once_are_each_their_own(pool: DecodePool) -> None:
    contents = [
        a_dicom_instance(a_ramp(20 + i, 30), WindowWidth=4096, WindowCenter=2048) for i in range(24)
    ]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda c: frames_from_file(c, decoding=pool), contents))
    assert [frames[0].pixels.shape for frames in found] == [(20 + i, 30) for i in range(24)]
    np.testing.assert_allclose(found[7][0].pixels, a_ramp(27, 30) / 4095.0, atol=1e-6)
    assert 1 <= len(pool.child_pids) <= 2
    assert pool.n_lost == 0


def test_light_load_starts_one_child_only(pool: DecodePool) -> None:
    for _ in range(3):
        frames_from_file(a_picture_file(), decoding=pool)
    assert len(pool.child_pids) == 1


def test_lost_children_are_counted_and_replaced(pool: DecodePool) -> None:
    pool.start()
    before = pool.child_pids
    assert len(before) == 2
    frames_from_file(a_picture_file(), decoding=pool)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(CdsError) as caught:
        frames_from_file(a_picture_file(), decoding=pool)
    assert caught.value.reason is Reason.IMAGE_UNREADABLE
    assert pool.n_lost == 1
    assert frames_from_file(a_picture_file(), decoding=pool)[0].pixels.shape == (12, 16)


def test_caller_without_a_free_child_in_time_gets_the_deadline(pool: DecodePool) -> None:
    frames_from_file(a_picture_file(), decoding=pool)
    pool.start()
    stopped = pool.child_pids
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    limits = DecodeLimits(timeout_s=2.0)
    waiting = [
        threading.Thread(target=_swallow, args=(pool, limits), daemon=True) for _ in range(2)
    ]
    for thread in waiting:
        thread.start()
    while pool._free.qsize():
        time.sleep(0.01)
    with pytest.raises(CdsError) as caught:
        frames_from_file(a_picture_file(), decoding=pool, timeout_s=0.05)
    assert caught.value.reason is Reason.DEADLINE
    for thread in waiting:
        thread.join(30)


def _swallow(pool: DecodePool, limits: DecodeLimits) -> None:
    try:
        frames_from_file(a_picture_file(), decoding=pool, limits=limits)
    except CdsError:
        return


def test_child_after_its_start_can_open_neither_file_nor_socket(pool: DecodePool) -> None:
    frames_from_file(a_picture_file(), decoding=pool)
    (pid,) = pool.child_pids
    open_fds = sorted(int(p.name) for p in Path(f"/proc/{pid}/fd").iterdir())
    assert open_fds == [0, 1, 2, 3]
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (4, 4)
    targets = {str(Path(f"/proc/{pid}/fd/{fd}").readlink()).partition(":")[0] for fd in open_fds}
    assert targets == {"socket", "/dev/null"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NPROC", 0),
        ("RLIMIT_AS", DEFAULT_LIMITS.memory_bytes),
    ],
)
def test_child_is_under_limits(pool: DecodePool, name: str, value: int) -> None:
    frames_from_file(a_picture_file(), decoding=pool)
    (pid,) = pool.child_pids
    assert resource.prlimit(pid, getattr(resource, name)) == (value, value)


def test_cpu_time_of_a_child_is_limited_beyond_what_it_used(pool: DecodePool) -> None:
    frames_from_file(a_picture_file(), decoding=pool)
    (pid,) = pool.child_pids
    soft, _ = resource.prlimit(pid, resource.RLIMIT_CPU)
    assert DEFAULT_LIMITS.timeout_s < soft < 120


def test_pool_without_children_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        DecodePool(0)
