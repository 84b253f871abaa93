"""`python -m bench.decoding`: pictures per second through two decoding processes, by encoding."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from bench.measure import Ratio, seconds
from cds.adapters.decode_pool import DecodePool
from cds.adapters.dicom_files import frames_from_file

N_CHILDREN = N_CORES = 2
SIDE_PX = 2048
N_PICTURES = 12  # per round and encoding
ROUNDS = 3
MIN_JPEG_2000_PER_S = 25.0
Read = Callable[[bytes], object]
Encode = Callable[[NDArray[np.uint16]], bytes | bytearray]


def a_film(noise: float, *, bits: int = 12) -> NDArray[np.uint16]:
    """Make a film: smooth shapes of the body's scale, and noise of this size in grey levels."""
    rng = np.random.default_rng(20261126)
    coarse = rng.random((24, 24))
    columns = np.linspace(0, 23, SIDE_PX)
    across = np.stack([np.interp(columns, np.arange(24), row) for row in coarse])
    body = np.stack([np.interp(columns, np.arange(24), line) for line in across.T]).T
    full = 2**bits - 1
    film: NDArray[np.uint16] = np.clip(
        body * full + rng.normal(0, noise, body.shape), 0, full
    ).astype(np.uint16)
    return film


def a_dicom_file(film: NDArray[np.uint16], syntax: uid.UID, encode: Encode | None) -> bytes:
    """Make a DICOM film of these stored values."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.UID(
        "1.2.840.10008.5.1.4.1.1.1.1"
    )
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.Rows, dataset.Columns = film.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelData = encapsulate([bytes(encode(film))]) if encode else film.tobytes()
    dataset["PixelData"].VR = "OB" if encode else "OW"
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _jpeg_2000(film: NDArray[np.uint16], **options: Any) -> bytes | bytearray:
    return imagecodecs.jpeg2k_encode(film, codecformat="j2k", bitspersample=12, **options)


def encodings() -> dict[str, bytes]:
    """Return one film in each encoding that archives hold."""
    lossless = partial(_jpeg_2000, reversible=True, level=0)
    lossy = partial(_jpeg_2000, reversible=False, level=57)
    noisy, clean = a_film(8.0), a_film(1.0)
    eight_bits = a_film(1.0, bits=8)
    lossless_8 = partial(imagecodecs.jpeg2k_encode, codecformat="j2k", bitspersample=8, level=0)
    return {
        "JPEG 2000 lossy": a_dicom_file(noisy, uid.JPEG2000, lossy),
        "JPEG 2000 lossless, 8 bits": a_dicom_file(eight_bits, uid.JPEG2000Lossless, lossless_8),
        "JPEG 2000 lossless, little noise": a_dicom_file(clean, uid.JPEG2000Lossless, lossless),
        "JPEG 2000 lossless, much noise": a_dicom_file(noisy, uid.JPEG2000Lossless, lossless),
        "JPEG-LS": a_dicom_file(noisy, uid.JPEGLSLossless, imagecodecs.jpegls_encode),
        "uncompressed": a_dicom_file(noisy, uid.ExplicitVRLittleEndian, None),
    }


def run(rounds: int = ROUNDS) -> list[Ratio]:
    """Measure each encoding against the least that an import needs of JPEG 2000.

    What counts is the processor time of server and children together: what two free cores would
    do, whatever else this machine does. The rate by the clock stands beside it.
    """
    ratios = []
    with DecodePool(N_CHILDREN) as pool, ThreadPoolExecutor(N_CHILDREN) as threads:
        read = partial(frames_from_file, decoding=pool)
        for name, content in encodings().items():
            list(threads.map(read, [content] * N_CHILDREN))  # warm
            used_s, took_s = [], []
            for _ in range(rounds):
                before_s = _cpu_s(pool)
                took_s.append(seconds(partial(_read_all, threads, read, content)))
                used_s.append(_cpu_s(pool) - before_s)
            per_s = N_CORES * N_PICTURES / statistics.median(used_s)
            by_the_clock = N_PICTURES / statistics.median(took_s)
            ratios.append(
                Ratio(
                    f"decoding: {name}, {SIDE_PX} x {SIDE_PX}",
                    per_s / MIN_JPEG_2000_PER_S,
                    per_s,
                    MIN_JPEG_2000_PER_S,
                    "pictures/s on 2 free cores",
                    ">= 1" if name.startswith("JPEG 2000") else None,
                    f"{len(content) / 1e6:.2f} MB each; {by_the_clock:.1f}/s by the clock",
                )
            )
    return ratios


def _read_all(threads: ThreadPoolExecutor, read: Read, content: bytes) -> None:
    list(threads.map(read, [content] * N_PICTURES))


def _cpu_s(pool: DecodePool) -> float:
    """Return the processor time that this process and the children have used."""
    total_s = time.process_time()
    for pid in pool.child_pids:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
        total_s += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total_s


if __name__ == "__main__":
    for ratio in run():
        print(ratio.line())
