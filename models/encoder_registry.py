"""The encoders of an installation by name: shipped or configured, and added."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from cds.domain.errors import CdsError, Reason
from models.embedder import folder_hash
from models.manifest import MANIFEST_FILE, read_manifest
from models.shipped import shipped_encoder, shipped_encoders

STORE_FOLDER = "models"  # in the state folder


@dataclass(frozen=True, slots=True)
class EncoderRegistry:
    """Finds encoder folders; opens none.

    Attributes
    ----------
    store
        Where added encoders lie; need not exist.
    configured
        The folder that the settings name instead of the shipped encoders; None for those.

    """

    store: Path
    configured: Path | None = None

    def default(self) -> Path:
        """Return the encoder that a new installation begins with.

        Raises
        ------
        CdsError
            MODEL_UNAVAILABLE if it is not installed.

        """
        return self.configured or shipped_encoder()

    def folders(self) -> dict[str, Path]:
        """Return every encoder folder by the name in its manifest, added ones last."""
        given = shipped_encoders() if self.configured is None else (self.configured,)
        added = sorted(p for p in self.store.glob("[!.]*") if (p / MANIFEST_FILE).is_file())
        found: dict[str, Path] = {}
        for folder in (*given, *added):
            try:
                found.setdefault(read_manifest(folder).name, folder)
            except CdsError:
                found.setdefault(folder.name, folder)  # named, so that it can be looked at
        return found

    def named(self, name: str) -> Path:
        """Return the folder of one encoder; NOT_FOUND if there is none of that name."""
        folders = self.folders()
        if name not in folders:
            raise CdsError(
                Reason.NOT_FOUND,
                f"There is no encoder named {name}; there are: {', '.join(folders) or 'none'}.",
            )
        return folders[name]

    def with_hash(self, encoder_hash: str) -> Path | None:
        """Return the folder of the encoder with this hash, or None."""
        for folder in self.folders().values():
            try:
                if folder_hash(folder) == encoder_hash:
                    return folder
            except CdsError:
                continue
        return None

    def is_added(self, folder: Path) -> bool:
        """Tell whether a folder is one of those that were added here."""
        return folder.parent == self.store

    def remove(self, name: str) -> None:
        """Remove an added encoder.

        Raises
        ------
        CdsError
            NOT_FOUND if there is none of that name; INVALID_REQUEST if it was not added here.

        """
        folder = self.named(name)
        if not self.is_added(folder):
            raise CdsError(
                Reason.INVALID_REQUEST, f"{name} came with the installation; it is not removed."
            )
        hidden = folder.with_name(f".removed.{folder.name}")
        shutil.rmtree(hidden, ignore_errors=True)
        folder.rename(hidden)
        shutil.rmtree(hidden)
