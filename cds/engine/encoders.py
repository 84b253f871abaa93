"""Which encoder answers: the serving one, or another that a caller names; each with its own index.

Everything that belongs to one encoder is held together, so that an analysis that began with one
ends with it: the encoder, the library with the index made by it, and the analyst over both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cds.adapters.case_library import IndexedCaseLibrary
from cds.adapters.encoder_generations import EncoderGenerations, ServingPointer
from cds.adapters.generations import OpenGeneration
from cds.analysis import Analyst
from cds.engine.index_upkeep import IndexUpkeep
from cds.settings import Settings
from models.embedder import OnnxImageEmbedder, folder_hash
from models.encoder_registry import STORE_FOLDER, EncoderRegistry


@dataclass(frozen=True, slots=True)
class EncoderParts:
    """What belongs to one encoder."""

    folder: Path
    embedder: OnnxImageEmbedder
    generations: EncoderGenerations
    library: IndexedCaseLibrary
    upkeep: IndexUpkeep
    analyst: Analyst


OpenParts = Callable[[Path, OnnxImageEmbedder, EncoderGenerations], EncoderParts]


class Encoders:
    """Opens encoders as they are needed, and follows the pointer that says which one serves.

    Parameters
    ----------
    registry
        Where encoders lie.
    index_folder
        Of the generations.
    open_parts
        Wires what belongs to an opened encoder.

    """

    def __init__(
        self, registry: EncoderRegistry, index_folder: Path, open_parts: OpenParts
    ) -> None:
        self.registry = registry
        self._index_folder = index_folder
        self._open_parts = open_parts
        self._pointer = ServingPointer(index_folder)
        self._opened: dict[str, EncoderParts] = {}
        self._serving: tuple[str | None, EncoderParts] | None = None
        self._repairs = False
        self._lock = threading.Lock()

    def serving(self) -> EncoderParts:
        """Return the parts of the encoder that serves now; a switch is seen at the next call.

        Raises
        ------
        CdsError
            MODEL_UNAVAILABLE if that encoder is missing or was changed: no other one steps in.

        """
        _, encoder_hash = self._pointer.read()
        held = self._serving
        if held is not None and held[0] == encoder_hash:
            return held[1]
        parts = self._of_folder(serving_folder(self.registry, encoder_hash))
        if self._repairs:
            parts.library.tell_trouble(parts.upkeep.repair_in_background)
        self._serving = (encoder_hash, parts)
        return parts

    def with_generation(self) -> tuple[OnnxImageEmbedder, OpenGeneration]:
        """Return the serving encoder and its generation, which may have a site adapter.

        Raises
        ------
        CdsError
            As `serving`; INDEX_UNAVAILABLE if there is no index.

        """
        parts = self.serving()
        return parts.embedder, parts.library.view().parts[0].generation

    def named(self, name: str) -> EncoderParts:
        """Return the parts of an encoder by name (see `EncoderRegistry.named`)."""
        return self._of_folder(self.registry.named(name))

    def with_hash(self, encoder_hash: str) -> EncoderParts | None:
        """Return the parts of the encoder with this hash, or None if nobody has it."""
        folder = self.registry.with_hash(encoder_hash)
        return None if folder is None else self._of_folder(folder)

    def serving_hash(self) -> str | None:
        """Return the hash of the encoder whose generation serves; None before the first."""
        return self._pointer.read()[1]

    def repair_from_now_on(self) -> None:
        """Have a missing or damaged index of the serving encoder built anew, whichever serves."""
        self._repairs = True
        self._serving = None

    def _of_folder(self, folder: Path) -> EncoderParts:
        key = folder_hash(folder)
        with self._lock:
            parts = self._opened.get(key)
            if parts is None:
                embedder = OnnxImageEmbedder.from_folder(folder)
                generations = EncoderGenerations(
                    self._index_folder,
                    embedder.encoder_hash,
                    takes_over=lambda serving: self._is_default_instead_of(folder, serving),
                )
                parts = self._opened[key] = self._open_parts(folder, embedder, generations)
            return parts

    def _is_default_instead_of(self, folder: Path, serving: str) -> bool:
        return folder == self.registry.default() and self.registry.with_hash(serving) is None


def serving_folder(registry: EncoderRegistry, encoder_hash: str | None) -> Path:
    """Return the folder of the encoder that made the serving generation, else the default's."""
    known = None if encoder_hash is None else registry.with_hash(encoder_hash)
    return known or registry.default()


def registry_of(settings: Settings) -> EncoderRegistry:
    """Return the encoders of an installation."""
    return EncoderRegistry(settings.state_dir / STORE_FOLDER, settings.encoder_dir)


def serving_folder_of(settings: Settings, index_folder: Path) -> Path:
    """Return the folder of the encoder that serves an installation (see `Encoders.serving`)."""
    return serving_folder(registry_of(settings), ServingPointer(index_folder).read()[1])
