"""Radiographs to unit-norm embeddings through a verified ONNX encoder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from cds.domain.embedding import UNIT_NORM_TOLERANCE, ImageEmbedding
from cds.domain.errors import CdsError, Reason
from cds.domain.source_attributes import SourceAttributeCard
from models.huggingface_graph import GraphReading, MapRelation
from models.huggingface_processing import preprocessing_from_config
from models.manifest import CARD_FILE, MODEL_FILE, PREPROCESSOR_FILE, Manifest, read_manifest
from models.model_card import card_in
from models.runtime import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import onnxruntime

    from cds.domain.pixels import PixelFrame

Float32Array = NDArray[np.float32]

INPUT_NAME = "pixel_values"
EMBEDDING_OUTPUT = "embedding"
FEATURE_MAP_OUTPUT = "feature_map"
# Optional: logits of the labels that config.json lists; not used to find similar cases.
FINDING_LOGITS_OUTPUT = "finding_logits"

# Bounds memory: activations of one picture take about 30 MiB.
_BATCH_SIZE = 16


class OnnxImageEmbedder:
    """An encoder folder, opened: frames in, embeddings with feature maps out.

    The graph takes ``pixel_values`` ``(n, channels, size, size)`` and gives ``embedding``
    ``(n, d)`` of unit norm and ``feature_map`` ``(n, d, h, w)``, whose mean over the places is the
    embedding before it was scaled to unit norm. Of a brought encoder the manifest says which
    outputs stand for the two; unit norm is then given here. Not thread-bound: a session may be
    shared by threads and, preloaded, by forked workers only before its first use.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        preprocessing: Callable[[Float32Array], Float32Array],
        *,
        encoder_name: str,
        encoder_hash: str,
        dimension: int,
        reading: GraphReading | None = None,
    ) -> None:
        self._session = session
        self._reading = reading
        self._encoder_name = encoder_name
        self._preprocessing = preprocessing
        self._encoder_hash = encoder_hash
        self._dimension = dimension
        self._source_attributes = SourceAttributeCard.of_unknown(encoder_name, encoder_hash)

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Verify an encoder folder against its manifest and open it.

        Parameters
        ----------
        folder
            Hugging Face layout plus ``manifest.json``, as `shipped_encoder` returns.

        Returns
        -------
        OnnxImageEmbedder
            Ready; about 0.1 s.

        Raises
        ------
        CdsError
            MODEL_UNAVAILABLE if the folder is missing or incomplete, a file differs from its
            checksum, its card is not one of these weights, or graph and manifest do not fit each
            other. A folder without a card is opened.

        """
        manifest = read_manifest(folder)
        contents = manifest.verified_files(folder)
        preprocessing = preprocessing_from_config(_parsed(contents[PREPROCESSOR_FILE]))
        reading = _reading_of(manifest)
        session = open_session(contents[MODEL_FILE])
        if reading is None:
            _refuse_other_graph(session, manifest.dimension)
        else:
            reading.refuse_other_graph(session)
        encoder_hash = encoder_hash_of(
            manifest.files[MODEL_FILE], preprocessing.hash, manifest.graph
        )
        opened = cls(
            session,
            preprocessing,
            encoder_name=manifest.name,
            encoder_hash=encoder_hash,
            dimension=manifest.dimension,
            reading=reading,
        )
        opened._source_attributes = card_in(contents, manifest, encoder_hash)
        return opened

    @property
    def encoder_name(self) -> str:
        """Name of the encoder, as its manifest says."""
        return self._encoder_name

    @property
    def encoder_hash(self) -> str:
        """SHA-256 (hex) of weights and preprocessing: equal hash, comparable vectors."""
        return self._encoder_hash

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self._dimension

    @property
    def source_attributes(self) -> SourceAttributeCard:
        """The card of 31 attributes; each says "not available" if the folder has no card."""
        return self._source_attributes

    @property
    def map_relation(self) -> MapRelation:
        """What the feature map's mean is to the embedding; NONE where there is no map."""
        return MapRelation.EXACT if self._reading is None else self._reading.map_relation

    @property
    def preprocessing(self) -> Callable[[Float32Array], Float32Array]:
        """What is done to a frame before the graph sees it."""
        return self._preprocessing

    def embed(self, frames: Sequence[PixelFrame]) -> list[ImageEmbedding]:
        """Embed frames; one result per frame, in order.

        Parameters
        ----------
        frames
            Decoded frames; none is changed.

        Returns
        -------
        list of ImageEmbedding
            Unit norm, with the feature map ``(c, h, w)``; None where the graph has none.

        Raises
        ------
        CdsError
            IMAGE_UNREADABLE if a frame is blank or too small, or if the encoder finds nothing in
            it to compare.

        """
        embeddings: list[ImageEmbedding] = []
        size = _BATCH_SIZE if self._reading is None else self._reading.batch_size or _BATCH_SIZE
        for start in range(0, len(frames), size):
            batch = frames[start : start + size]
            image_batch = np.stack([self._preprocessing(frame.pixels) for frame in batch])
            embeddings.extend(self._embedded(image_batch))
        return embeddings

    def _embedded(self, image_batch: Float32Array) -> list[ImageEmbedding]:
        """Run the graph on a preprocessed batch ``(n, channels, size, size)``."""
        if self._reading is None:
            vectors, feature_maps = self._session.run(
                [EMBEDDING_OUTPUT, FEATURE_MAP_OUTPUT], {INPUT_NAME: image_batch}
            )
        else:
            vectors, feature_maps = self._reading.run(self._session, image_batch)
        norms = np.linalg.norm(vectors, axis=1)
        if not (np.abs(norms - 1.0) <= UNIT_NORM_TOLERANCE).all():
            raise CdsError(
                Reason.IMAGE_UNREADABLE, "The image model found nothing to compare in the picture."
            )
        return [
            ImageEmbedding(vector=vector, encoder_hash=self._encoder_hash, feature_map=feature_map)
            for vector, feature_map in zip(vectors, feature_maps, strict=True)
        ]


def encoder_hash_of(
    model_sha256: str, preprocessing_hash: str, graph: Mapping[str, Any] | None = None
) -> str:
    """Combine what an embedding depends on.

    Parameters
    ----------
    model_sha256
        SHA-256 (hex) of ``model.onnx``.
    preprocessing_hash
        `Preprocessing.hash`.
    graph
        `Manifest.graph`: which output is taken and how it is pooled.

    Returns
    -------
    str
        SHA-256 (hex).

    """
    parts = [model_sha256, preprocessing_hash]
    if graph is not None:
        parts.append(json.dumps(dict(graph), sort_keys=True, separators=(",", ":")))
    return hashlib.sha256("".join(f"{part}\n" for part in parts).encode()).hexdigest()


def folder_hash(folder: Path) -> str:
    """Return the encoder hash that a folder's manifest stands for; the graph is not opened.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if manifest or preprocessing cannot be read.

    """
    manifest = read_manifest(folder)
    try:
        content = (folder / PREPROCESSOR_FILE).read_bytes()
    except OSError as error:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE, "The image model's preprocessing cannot be read."
        ) from error
    preprocessing = preprocessing_from_config(_parsed(content))
    return encoder_hash_of(manifest.files[MODEL_FILE], preprocessing.hash, manifest.graph)


def _reading_of(manifest: Manifest) -> GraphReading | None:
    return None if manifest.graph is None else GraphReading.from_manifest(manifest.graph)


def encoder_hash_of_folder(folder: Path) -> str:
    """Return the hash that an encoder's answers carry, without opening its graph or its card.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if weights or preprocessing are missing or differ from the manifest.

    """
    manifest = read_manifest(folder)
    files = {name: one for name, one in manifest.files.items() if name != CARD_FILE}
    replace(manifest, files=files).verified_files(folder)
    return folder_hash(folder)


def _parsed(content: bytes) -> dict[str, Any]:
    """Parse a JSON object of an encoder folder."""
    try:
        parsed = json.loads(content)
    except ValueError as error:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE, "The image model's preprocessing cannot be read."
        ) from error
    if not isinstance(parsed, dict):
        raise CdsError(Reason.MODEL_UNAVAILABLE, "The image model's preprocessing cannot be read.")
    return parsed


def _refuse_other_graph(session: onnxruntime.InferenceSession, dimension: int) -> None:
    """Raise unless the graph has our input and outputs and the manifest's dimension."""
    inputs = {node.name for node in session.get_inputs()}
    outputs = {node.name: node.shape for node in session.get_outputs()}
    fits = (
        inputs == {INPUT_NAME}
        and outputs.get(EMBEDDING_OUTPUT, [])[-1:] == [dimension]
        and FEATURE_MAP_OUTPUT in outputs
    )
    if not fits:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE, "The image model's graph does not fit its manifest."
        )
