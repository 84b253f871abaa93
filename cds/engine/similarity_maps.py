"""The regions that make two pictures similar, computed on demand; nothing of them is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock, Thread, get_native_id
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cds.adapters.generations import OpenGeneration
from cds.domain.errors import CdsError, Reason
from cds.domain.generation import comparable_modalities
from cds.domain.projection import Projection
from cds.library.catalogue import CaseCatalogue
from cds.library.picture_preparation import from_png, grey_picture, kept_frame
from cds.ports import BlobStore
from models.embedder import OnnxImageEmbedder
from models.huggingface_graph import MapRelation
from models.preprocessing import Preprocessing
from models.similarity_map import map_on_picture, pair_contributions, place_vectors
from models.similarity_picture import RgbPicture, side_by_side_png, with_regions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cds.domain.pixels import PixelFrame

Float64Array = NDArray[np.float64]
_Library = tuple[str, frozenset[str]]  # whose, and which modalities; none named means any

N_EXPECTED = 64  # pictures whose mean stands for the library's
LOW_PRIORITY = 10  # niceness of a thread (Linux): whoever waits for an answer comes first
NO_MAP = "The regions of this pair cannot be computed."


@dataclass(frozen=True, slots=True, eq=False)
class RegionPictures:
    """Both pictures of a pair with their regions, each at the size of the picture that is kept.

    Attributes
    ----------
    query, case
        Shape ``(rows, columns, 3)``, uint8, RGB.

    """

    query: RgbPicture
    case: RgbPicture

    @property
    def png(self) -> bytes:
        """Return both in one PNG, the query on the left (see `side_by_side_png`)."""
        return side_by_side_png(self.query, self.case)


@dataclass(slots=True)
class SimilarityMaps:
    """Embeds both pictures of a pair again and parts their similarity over their places.

    `serving` gives the encoder and the index generation that answers are computed with now.

    The mean over `N_EXPECTED` library pictures that may be compared with the query's is worked out
    at the first call after a start or a change of the index, and kept in memory only.
    """

    serving: Callable[[], tuple[OnnxImageEmbedder, OpenGeneration]]
    catalogue: CaseCatalogue
    blobs: BlobStore
    _expected: dict[_Library, tuple[str, Float64Array | None]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _gets_ready: bool = False
    _is_busy: Lock = field(default_factory=Lock)

    def get_ready_from_now_on(self) -> None:
        """Let `get_ready` do its work: in a process that serves people, not in a short command."""
        self._gets_ready = True

    def get_ready(self, ehr_id: str, modality: str | None) -> None:
        """Work out the library's mean in the background, at low priority, unless it is known.

        Called when a library picture is looked at, so that the first pair need not wait for it.
        """
        if not self._gets_ready or not self._is_busy.acquire(blocking=False):
            return
        library = (ehr_id, comparable_modalities(modality))
        Thread(target=self._in_background, args=(library,), daemon=True).start()

    def _in_background(self, library: _Library) -> None:
        try:
            with suppress(CdsError):  # who opens a pair is told what is wrong
                os.setpriority(os.PRIO_PROCESS, get_native_id(), LOW_PRIORITY)
                self._expected_places(*self.serving(), library)
        finally:
            self._is_busy.release()

    def of_pair(self, query: PixelFrame, case_png: bytes, *, ehr_id: str) -> RegionPictures:
        """Return both pictures with their regions.

        Parameters
        ----------
        query
            The frame that was compared.
        case_png
            The library picture as it is kept.
        ehr_id
            Whose library: cases of other EHRs are not looked at.

        Raises
        ------
        CdsError
            MODEL_UNAVAILABLE if the encoder gives no feature map or has a preprocessing of its
            own; IMAGE_UNREADABLE if a picture cannot be embedded.

        """
        embedder, generation = self.serving()
        preprocessing = embedder.preprocessing
        if not isinstance(preprocessing, Preprocessing):
            raise CdsError(Reason.MODEL_UNAVAILABLE, NO_MAP)
        case = from_png(case_png)
        query_places, case_places = _places(embedder, generation.adapter, [query, case])
        library = (ehr_id, comparable_modalities(query.modality))
        parts = pair_contributions(
            query_places, case_places, expected=self._expected_places(embedder, generation, library)
        )
        shown = kept_frame(grey_picture(query)).pixels
        pairs = ((shown, parts.query, query.pixels), (case.pixels, parts.case, case.pixels))
        drawn = (
            with_regions(
                pixels,
                map_on_picture(
                    part, preprocessing.geometry(seen), (pixels.shape[0], pixels.shape[1])
                ),
            )
            for pixels, part, seen in pairs
        )
        return RegionPictures(*drawn)

    def _expected_places(
        self, embedder: OnnxImageEmbedder, generation: OpenGeneration, library: _Library
    ) -> Float64Array | None:
        """Return the library's mean; None, the plain similarity, where it has too few pictures."""
        with self._lock:
            state = generation.passport.generation_id
            known = self._expected.get(library)
            if known is None or known[0] != state:
                found = list(
                    islice(self._library_places(embedder, generation.adapter, library), N_EXPECTED)
                )
                mean = np.mean(found, axis=0) if len(found) == N_EXPECTED else None
                known = self._expected[library] = (state, mean)
            return known[1]

    def _library_places(
        self, embedder: OnnxImageEmbedder, adapter: Projection | None, library: _Library
    ) -> Iterator[Float64Array]:
        """Yield the places of one picture per case, by case id, which is random."""
        ehr_id, modalities = library
        for case in self.catalogue.iter_cases():
            is_alike = not modalities or case.modality in modalities
            if is_alike and case.owner_ehr_id in {None, ehr_id} and case.pictures:
                with suppress(CdsError):  # what cannot be read says nothing about the mean
                    picture = from_png(self.blobs.get(case.pictures[0].blob_key))
                    yield _places(embedder, adapter, [picture])[0]


def _places(
    embedder: OnnxImageEmbedder, adapter: Projection | None, frames: list[PixelFrame]
) -> list[Float64Array]:
    maps = [embedding.feature_map for embedding in embedder.embed(frames)]
    if any(one is None for one in maps) or embedder.map_relation is not MapRelation.EXACT:
        raise CdsError(Reason.MODEL_UNAVAILABLE, NO_MAP)
    found = [np.asarray(one, dtype=np.float64) for one in maps if one is not None]
    if adapter is None:
        return [place_vectors(one) for one in found]
    mean = np.asarray(adapter.mean, dtype=np.float64)[:, None, None]
    scaled = [one / np.linalg.norm(one.mean(axis=(1, 2))) - mean for one in found]
    return [place_vectors(one, adapter.matrix.T) for one in scaled]
