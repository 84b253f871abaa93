"""`manifest.json` of a text detector: where the network comes from, and its checksum."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cds.domain.errors import CdsError, Reason
from models.manifest import MANIFEST_FILE, MODEL_FILE, sha256_of

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class DetectorManifest:
    """What a detector's folder holds.

    Attributes
    ----------
    name
        The folder's name.
    model_sha256
        SHA-256 (hex) of ``model.onnx``.
    licence, source, changes
        Whose it is, where it was taken from, and what was changed in it.

    """

    name: str
    model_sha256: str
    licence: str
    source: str
    changes: str


def read_detector_manifest(folder: Path) -> tuple[DetectorManifest, bytes]:
    """Read a detector's manifest and its network; the bytes are what was checked.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if a file is missing, is not one of ours, or differs from its checksum.

    """
    try:
        manifest = DetectorManifest(**json.loads((folder / MANIFEST_FILE).read_text("utf-8")))
        model = (folder / MODEL_FILE).read_bytes()
    except (OSError, TypeError, ValueError) as error:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE, "The text detector is incomplete: reinstall the software."
        ) from error
    if sha256_of(model) != manifest.model_sha256:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE,
            "The text detector's model.onnx differs from its manifest: reinstall the software.",
        )
    return manifest, model
