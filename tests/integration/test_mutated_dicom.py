"""10,000 damaged and hostile DICOM objects: each is decoded or refused, nothing else happens."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from cds.adapters.decode_pool import DecodePool
from cds.adapters.dicom_decoding import NOT_PICTURES
from cds.adapters.dicom_files import frames_from_dicom, frames_from_file
from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from cds.library.picture_preparation import read_frame
from tests.builders.dicom import a_dicom_instance, a_picture_file, a_ramp
from tests.builders.mutations import (
    MUTATIONS,
    bit_flips,
    header_flips,
    insertion,
    mutated,
    repeated_part,
    synthetic_seeds,
    truncation,
)

FOLDER = Path(os.environ.get("PRECEDENT_SHARED", "../shared")) / "data" / "dicom"
N_OBJECTS = 10_000
N_PICTURES = 2_000
PICTURE_MUTATIONS = (bit_flips, header_flips, truncation, insertion, repeated_part)
N_CHILDREN = 2
MAX_SEED_BYTES = 40_000
# Measured: the parent grows by about 40 MB, the largest child reaches about 280 MB.
MAX_PARENT_GROWTH_MB = 256
MAX_CHILD_MB = 1024
SAMPLED_EVERY = 25
SEEDED_PHI = ("P100", "Test^Person", "19590314")


@dataclass
class Seen:
    """What became of the objects."""

    outcomes: Counter[str] = field(default_factory=Counter)
    mutations: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    parent_mb: int = 0
    child_mb: int = 0


def real_seeds() -> dict[str, bytes]:
    """One small real file of each syntax, colour model and depth, where the data are here."""
    if not (FOLDER / "metadata.csv").exists():
        return {}
    found: dict[str, bytes] = {}
    with (FOLDER / "metadata.csv").open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            kind = f"{row['transfer_syntax']} {row['photometric']} {row['bits_allocated']}"
            is_small = int(row["bytes"]) < MAX_SEED_BYTES and row["has_pixels"] == "True"
            if is_small and row["modality"] not in NOT_PICTURES and kind not in found:
                found[kind] = (FOLDER / row["file"]).read_bytes()
    return found


def memory_mb(pid: int | str, what: str) -> int:
    """Return VmRSS or VmHWM of a process; 0 if it has just gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(what)), 0)


class Fuzzing:
    """Sends every object through the pool, as an import would, and through the header check."""

    def __init__(self, pool: DecodePool, seeds: list[bytes]) -> None:
        self._pool = pool
        self._seeds = seeds
        self.seen = Seen()

    def one(self, number: int) -> None:
        rng = np.random.default_rng(number)
        seed = self._seeds[int(rng.integers(len(self._seeds)))]
        name, content = mutated(seed, rng, self._seeds)
        self.seen.mutations.update(name.split("+"))
        try:
            frames = frames_from_dicom(content, decoding=self._pool)
            self.seen.outcomes["decoded"] += 1
            self._prepare(content, frames)
        except CdsError as error:
            self.seen.outcomes[error.reason.value] += 1
            if not error.sentence or any(word in error.sentence for word in SEEDED_PHI):
                self.seen.unexpected.append(f"{number} {name}: {error.sentence}")
        except Exception as error:  # noqa: BLE001  # that is what the test looks for
            self.seen.unexpected.append(f"{number} {name}: {error!r}")
        if number % SAMPLED_EVERY == 0:
            self._sample()

    def one_picture(self, number: int) -> None:
        """Send a damaged JPEG or PNG file, told apart by its first bytes as everywhere."""
        rng = np.random.default_rng(number)
        content = self._seeds[number % len(self._seeds)]
        for _ in range(int(rng.integers(1, 4))):
            content = PICTURE_MUTATIONS[int(rng.integers(len(PICTURE_MUTATIONS)))](content, rng)
            content = content or b"\0"
        try:
            frames_from_file(content, decoding=self._pool)
            self.seen.outcomes["decoded"] += 1
        except CdsError as error:
            self.seen.outcomes[error.reason.value] += 1
        except Exception as error:  # noqa: BLE001  # that is what the test looks for
            self.seen.unexpected.append(f"{number}: {error!r}")
        if number % SAMPLED_EVERY == 0:
            self._sample()

    def _prepare(self, content: bytes, frames: tuple[PixelFrame, ...]) -> None:
        try:
            read_frame(content, lambda _: frames)
        except CdsError:
            self.seen.outcomes["not for the library"] += 1

    def _sample(self) -> None:
        self.seen.parent_mb = max(self.seen.parent_mb, memory_mb("self", "VmRSS"))
        children = [memory_mb(pid, "VmHWM") for pid in self._pool.child_pids]
        self.seen.child_mb = max([self.seen.child_mb, *children])


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(N_CHILDREN) as decoding:
        yield decoding


def test_synthetic_seeds_are_good_objects(pool: DecodePool) -> None:
    for name, content in synthetic_seeds().items():
        frames = frames_from_dicom(content, decoding=pool)
        assert np.ptp(frames[0].pixels) > 0, name


def test_mutated_objects_are_decoded_or_refused_in_words_within_bounded_memory(
    pool: DecodePool,
) -> None:
    fuzzing = Fuzzing(pool, [*synthetic_seeds().values(), *real_seeds().values()])
    before_mb, pid = memory_mb("self", "VmRSS"), os.getpid()
    with ThreadPoolExecutor(N_CHILDREN) as threads:
        list(threads.map(fuzzing.one, range(N_OBJECTS)))
    seen = fuzzing.seen
    assert seen.unexpected == []
    n_refused = sum(seen.outcomes[r] for r in (Reason.IMAGE_UNREADABLE, Reason.IMAGE_UNSUPPORTED))
    assert seen.outcomes["decoded"] + n_refused == N_OBJECTS
    assert seen.outcomes["decoded"] > N_OBJECTS // 20
    assert n_refused > N_OBJECTS // 3
    assert all(seen.mutations[name] > N_OBJECTS // 100 for name in (*MUTATIONS, "splice"))
    assert seen.parent_mb - before_mb < MAX_PARENT_GROWTH_MB
    assert 0 < seen.child_mb < MAX_CHILD_MB
    # However many children it cost, the service is the same process and goes on.
    assert os.getpid() == pid
    assert len(pool.child_pids) == N_CHILDREN
    assert frames_from_dicom(a_dicom_instance(), decoding=pool)[0].pixels.shape == (12, 16)


def test_mutated_jpeg_and_png_files_are_decoded_or_refused_within_bounded_memory(
    pool: DecodePool,
) -> None:
    colour = np.repeat(a_ramp(48, 40, bits=8).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    seeds = [
        a_picture_file(colour, kind="PNG"),
        a_picture_file(a_ramp(48, 40, bits=16)),
        a_picture_file(colour, kind="JPEG"),
        a_picture_file(colour[..., 0], kind="JPEG", progressive=True),
    ]
    fuzzing = Fuzzing(pool, seeds)
    before_mb = memory_mb("self", "VmRSS")
    with ThreadPoolExecutor(N_CHILDREN) as threads:
        list(threads.map(fuzzing.one_picture, range(N_PICTURES)))
    seen = fuzzing.seen
    assert seen.unexpected == []
    assert seen.outcomes.total() == N_PICTURES
    assert seen.outcomes["decoded"] > N_PICTURES // 20
    assert seen.outcomes[Reason.IMAGE_UNREADABLE] > N_PICTURES // 20
    assert seen.parent_mb - before_mb < MAX_PARENT_GROWTH_MB
    assert seen.child_mb < MAX_CHILD_MB
