"""`python -m bench.imports`: the import of real pictures, against decoding and inference alone.

Both are measured over as many processes as there are cores, in turns with the import. What
counts is 1/(1/decode + 1/inference): what the cores could do if they did nothing else. It needs
the shared data (PRECEDENT_SHARED); without it there is nothing to measure.
"""

from __future__ import annotations

import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from bench.measure import Ratio
from cds.adapters.dicom_files import frames_from_file
from cds.adapters.storage import initialise, open_storage
from cds.domain.pixels import PixelFrame
from cds.engine.bulk_import import bulk_import
from cds.library.source_case import SourceCase, SourcePicture
from cds.settings import Settings
from models.embedder import OnnxImageEmbedder
from models.shipped import shipped_encoder

N_CORES = 2
N_PICTURES = 160
ROUNDS = 3
COLLECTION = "nih_chestxray14_subset"
TARGET = ">= 0.85"


def films() -> list[bytes]:
    """Return real radiographs as the shared folder holds them: JPEG."""
    folder = Path(os.environ.get("PRECEDENT_SHARED", "../shared")) / "data" / COLLECTION
    with (folder / "metadata.csv").open(encoding="utf-8") as stream:
        names = [row["file"] for row in csv.DictReader(stream)]
    return [(folder / name).read_bytes() for name in names[:N_PICTURES]]


def as_dicom(jpeg: bytes, number: int, *, compressed: bool) -> bytes:
    """Return a film as DICOM: uncompressed, or JPEG-LS lossless."""
    with Image.open(BytesIO(jpeg)) as opened:
        grey = np.asarray(opened.convert("L"))
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = (
        uid.JPEGLSLossless if compressed else uid.ExplicitVRLittleEndian
    )
    dataset.SOPClassUID = uid.UID("1.2.840.10008.5.1.4.1.1.1.1")
    dataset.SOPInstanceUID = uid.generate_uid()
    dataset.StudyInstanceUID = uid.generate_uid()
    dataset.PatientID, dataset.Modality = f"bench-{number}", "DX"
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = grey.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    encoded = grey.tobytes()
    if compressed:
        encoded = encapsulate([bytes(imagecodecs.jpegls_encode(grey))])
    dataset.PixelData = encoded + b"\0" * (len(encoded) % 2)
    dataset["PixelData"].VR = "OB"
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def kinds() -> dict[str, list[bytes]]:
    """Return the same films in each encoding."""
    jpeg = films()
    return {
        "JPEG": jpeg,
        "uncompressed DICOM": [as_dicom(f, i, compressed=False) for i, f in enumerate(jpeg)],
        "JPEG-LS": [as_dicom(f, i, compressed=True) for i, f in enumerate(jpeg)],
    }


class Alone:
    """Decoding or inference and nothing else, in one process of several."""

    embedder: OnnxImageEmbedder | None = None

    @classmethod
    def warm(cls) -> None:
        """Open the encoder once per process."""
        cls.embedder = OnnxImageEmbedder.from_folder(shipped_encoder())

    @staticmethod
    def decode(contents: list[bytes]) -> int:
        """Decode in this process."""
        return sum(len(frames_from_file(content, isolate=False)) for content in contents)

    @classmethod
    def embed(cls, contents: list[bytes]) -> float:
        """Return the seconds that embedding took, without decoding."""
        frames = [frames_from_file(content, isolate=False)[0] for content in contents]
        if cls.embedder is None:
            cls.warm()
        started = time.perf_counter()
        for frame in frames:
            _embed(cls.embedder, frame)
        return time.perf_counter() - started


def _embed(embedder: OnnxImageEmbedder | None, frame: PixelFrame) -> None:
    if embedder is not None:
        embedder.embed([frame])


def decode_rate(pool: ProcessPoolExecutor, contents: list[bytes]) -> float:
    """Return pictures per second over all processes."""
    started = time.perf_counter()
    list(pool.map(Alone.decode, _shares(contents)))
    return len(contents) / (time.perf_counter() - started)


def inference_rate(pool: ProcessPoolExecutor, contents: list[bytes]) -> float:
    """Return pictures per second over all processes."""
    return len(contents) / max(pool.map(Alone.embed, _shares(contents)))


def import_rate(contents: list[bytes]) -> float:
    """Return pictures per second of the whole import: decoded, checked, kept, embedded."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(state_dir=Path(folder))
        initialise(settings)
        storage = open_storage(settings)
        opened = bulk_import(
            settings, storage, n_workers=N_CORES, embeds=True, writing_reviewed=True
        )
        with opened as importing:
            importing.run(rows(contents[:4], "warm"), source_kind="bench")
            started = time.perf_counter()
            summary = importing.run(rows(contents[4:], "bench"), source_kind="bench")
            took_s = time.perf_counter() - started
        storage.engine.dispose()
        return summary.n_pictures / took_s


def rows(contents: list[bytes], collection: str) -> Iterator[SourceCase]:
    """Yield one case per picture."""
    for number, content in enumerate(contents):
        yield SourceCase(
            row_name=str(number),
            collection=collection,
            study_name=str(number),
            patient_namespace=collection,
            patient_value=str(number),
            pictures=(SourcePicture(str(number), None, content=content),),
            modality="DX",
            body_part="CHEST",
            is_reference=True,
        )


def run(rounds: int = ROUNDS) -> list[Ratio]:
    """Measure each encoding in turns; the median of the rounds' own ratios counts."""
    ratios = []
    with ProcessPoolExecutor(
        N_CORES, mp_context=get_context("spawn"), initializer=Alone.warm
    ) as pool:
        for name, contents in kinds().items():
            decode_rate(pool, contents[:N_CORES]), inference_rate(pool, contents[:N_CORES])
            turns: list[tuple[float, float, float]] = []
            calls: tuple[Callable[[], float], ...] = (
                partial(decode_rate, pool, contents),
                partial(inference_rate, pool, contents),
                partial(import_rate, contents),
            )
            for _ in range(rounds):
                decode, inference, whole = (call() for call in calls)
                turns.append((decode, inference, whole))
            ideal = [1 / (1 / d + 1 / i) for d, i, _ in turns]
            wholes = [whole for *_, whole in turns]
            ratio = statistics.median(w / i for w, i in zip(wholes, ideal, strict=True))
            decode, inference = (statistics.median(t[k] for t in turns) for k in (0, 1))
            ratios.append(
                Ratio(
                    f"imports: {name}",
                    ratio,
                    statistics.median(wholes),
                    statistics.median(ideal),
                    "pictures/s",
                    TARGET,
                    f"decode alone {decode:.0f}/s, inference alone {inference:.0f}/s",
                )
            )
    return ratios


def _shares(contents: list[bytes]) -> list[list[bytes]]:
    return [contents[i::N_CORES] for i in range(N_CORES)]


if __name__ == "__main__":
    for ratio in run():
        print(ratio.line())
