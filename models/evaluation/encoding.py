"""Encoders to be measured, and the one pass in which all of them see the same pictures."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from models.embedder import EMBEDDING_OUTPUT, INPUT_NAME, OnnxImageEmbedder
from models.evaluation.dataset import LabelledPicture
from models.manifest import read_manifest
from models.preprocessing import Preprocessing
from models.runtime import open_session
from models.shipped import SHIPPED_ENCODER_NAME, shipped_encoder

Float32Array = NDArray[np.float32]

_CHUNK = 8  # pictures decoded and embedded at a time by one thread
_THUMBNAIL = Preprocessing(size_px=64)
_WHITE = 255.0
# What the shared MobileNetV2 takes: three channels in [-1, 1].
_BARE_MEAN = _BARE_STD = (0.5, 0.5, 0.5)


class Encoder(Protocol):
    """Turns frames into unit-norm vectors."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    @property
    def encoder_hash(self) -> str:
        """SHA-256 (hex) of weights and preprocessing."""
        ...

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Sources of its training that it names."""
        ...

    def vectors(self, frames: Sequence[PixelFrame]) -> Float32Array:
        """Return shape ``(n, d)``, unit norm; raises CdsError if a frame is refused."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FolderEncoder:
    """An encoder folder, opened."""

    embedder: OnnxImageEmbedder
    trained_on: tuple[str, ...] = ()

    @classmethod
    def from_folder(cls, folder: Path) -> FolderEncoder:
        """Verify and open a folder; raises CdsError MODEL_UNAVAILABLE as the embedder does."""
        embedder = OnnxImageEmbedder.from_folder(folder)
        return cls(embedder, tuple(rows.source for rows in read_manifest(folder).training))

    @property
    def name(self) -> str:
        """Name in its manifest."""
        return self.embedder.encoder_name

    @property
    def encoder_hash(self) -> str:
        """SHA-256 (hex) of weights and preprocessing."""
        return self.embedder.encoder_hash

    def vectors(self, frames: Sequence[PixelFrame]) -> Float32Array:
        """Return shape ``(n, d)``, unit norm."""
        return np.stack([one.vector for one in self.embedder.embed(frames)]).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class StoredVectors:
    """An encoder whose vectors of some pictures are stored already, as in an installed library.

    Attributes
    ----------
    encoder
        Embeds what is not stored.
    stored
        SHA-256 that a frame carries to its vector, shape ``(d,)``.

    """

    encoder: FolderEncoder
    stored: Mapping[str, Float32Array]

    @property
    def name(self) -> str:
        """Name of the encoder."""
        return self.encoder.name

    @property
    def encoder_hash(self) -> str:
        """SHA-256 (hex) of weights and preprocessing."""
        return self.encoder.encoder_hash

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Sources of its training."""
        return self.encoder.trained_on

    def vectors(self, frames: Sequence[PixelFrame]) -> Float32Array:
        """Return shape ``(n, d)``, unit norm."""
        found = [self.stored.get(frame.content_sha256) for frame in frames]
        return np.stack(
            [
                vector if vector is not None else self.encoder.vectors([frame])[0]
                for vector, frame in zip(found, frames, strict=True)
            ]
        )


@dataclass(frozen=True, slots=True, eq=False)
class FrozenNetwork:
    """A bare ONNX file with an output ``embedding``: the frozen network to compare with."""

    name: str
    encoder_hash: str
    session: onnxruntime.InferenceSession
    preprocessing: Preprocessing
    trained_on: tuple[str, ...] = ()

    def vectors(self, frames: Sequence[PixelFrame]) -> Float32Array:
        """Return shape ``(n, d)``, scaled to unit norm."""
        batch = np.stack([self.preprocessing(frame.pixels) for frame in frames])
        (raw,) = self.session.run([EMBEDDING_OUTPUT], {INPUT_NAME: batch})
        norms = np.linalg.norm(raw, axis=1, keepdims=True)
        if not (norms > 0.0).all():
            raise CdsError(
                Reason.IMAGE_UNREADABLE, "The image model found nothing to compare in the picture."
            )
        return np.asarray(raw / norms, dtype=np.float32)


def open_encoder(name: str) -> FolderEncoder:
    """Open the shipped encoder by its name, or an encoder folder by its path.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if there is none, or it is damaged.

    """
    folder = shipped_encoder() if name == SHIPPED_ENCODER_NAME else Path(name)
    return FolderEncoder.from_folder(folder)


def open_baseline(path: Path, beside: FolderEncoder) -> Encoder:
    """Open what an encoder is compared with, a folder or a bare ONNX file.

    Parameters
    ----------
    path
        An encoder folder, which keeps its own preprocessing; or an ``.onnx`` file with the input
        ``pixel_values`` ``(n, 3, h, w)`` in [-1, 1] and the output ``embedding``.
    beside
        A bare file sees its pictures: borders, contrast and size as this encoder's.

    Returns
    -------
    Encoder
        Ready.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if it cannot be opened or lacks that output.

    """
    if path.is_dir():
        return FolderEncoder.from_folder(path)
    try:
        content = path.read_bytes()
    except OSError:
        raise CdsError(Reason.MODEL_UNAVAILABLE, f"There is no model file {path}.") from None
    session = open_session(content)
    if EMBEDDING_OUTPUT not in {node.name for node in session.get_outputs()}:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE, f"The model file {path} has no output {EMBEDDING_OUTPUT!r}."
        )
    theirs = beside.embedder.preprocessing
    grey_steps = theirs if isinstance(theirs, Preprocessing) else Preprocessing()
    preprocessing = replace(grey_steps, mean=_BARE_MEAN, std=_BARE_STD)
    digest = hashlib.sha256(content + preprocessing.hash.encode()).hexdigest()
    return FrozenNetwork(f"{path.stem} (frozen)", digest, session, preprocessing)


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPictures:
    """What one pass over the pictures gave.

    Attributes
    ----------
    kept
        Those that every encoder could read, in order.
    content
        SHA-256 (hex) of each kept picture's bytes.
    thumbnails
        Shape ``(n, 64, 64)``, uint8: for finding copies.
    vectors
        Per encoder, shape ``(n, d)``, unit norm.
    refused
        Reason to number of pictures that could not be read.

    """

    kept: tuple[LabelledPicture, ...]
    content: tuple[str, ...]
    thumbnails: NDArray[np.uint8]
    vectors: tuple[Float32Array, ...]
    refused: Counter[str]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what could not be read."""
        return tuple(
            f"{count} pictures could not be read and are left out: {reason}"
            for reason, count in sorted(self.refused.items())
        )


def encoded(
    pictures: Sequence[LabelledPicture],
    encoders: Sequence[Encoder],
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    n_threads: int = 1,
) -> EncodedPictures:
    """Decode each picture once and embed it with every encoder.

    Parameters
    ----------
    pictures
        What to read.
    encoders
        All see the same frames.
    progress
        Told how many of how many are done.
    n_threads
        Chunks at a time; each runs one thread of the runtime.

    Returns
    -------
    EncodedPictures
        In the order of `pictures`, whatever the number of threads.

    Raises
    ------
    CdsError
        INVALID_REQUEST if no picture can be read.

    """
    chunks = [pictures[start : start + _CHUNK] for start in range(0, len(pictures), _CHUNK)]
    done: list[list[_Encoded | str]] = []
    with ThreadPoolExecutor(n_threads) as pool:
        for results in pool.map(lambda chunk: [_encoded(one, encoders) for one in chunk], chunks):
            done.append(results)
            progress(sum(map(len, done)), len(pictures))
    flat = [one for results in done for one in results]
    pairs = [(p, e) for p, e in zip(pictures, flat, strict=True) if not isinstance(e, str)]
    if not pairs:
        reason = next((one for one in flat if isinstance(one, str)), "There are no pictures.")
        raise CdsError(Reason.INVALID_REQUEST, f"No picture can be read. {reason}")
    return EncodedPictures(
        kept=tuple(picture for picture, _ in pairs),
        content=tuple(one.content_sha256 for _, one in pairs),
        thumbnails=np.stack([one.thumbnail for _, one in pairs]),
        vectors=tuple(
            np.stack([one.vectors[number] for _, one in pairs]) for number in range(len(encoders))
        ),
        refused=Counter(one for one in flat if isinstance(one, str)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Encoded:
    content_sha256: str
    thumbnail: NDArray[np.uint8]
    vectors: tuple[Float32Array, ...]


def _encoded(picture: LabelledPicture, encoders: Sequence[Encoder]) -> _Encoded | str:
    """Return a picture's vectors, or the sentence that says why it has none."""
    try:
        frame = picture.read()
        grey = _THUMBNAIL.grey_square(frame.pixels)
        vectors = tuple(encoder.vectors([frame])[0] for encoder in encoders)
    except CdsError as error:
        if error.reason not in {Reason.IMAGE_UNREADABLE, Reason.IMAGE_UNSUPPORTED}:
            raise
        return error.sentence
    return _Encoded(frame.content_sha256, np.rint(grey * _WHITE).astype(np.uint8), vectors)
