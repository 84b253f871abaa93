"""Where the encoder that comes with the product lies."""

from __future__ import annotations

from pathlib import Path

from cds.domain.errors import CdsError, Reason
from models.manifest import MANIFEST_FILE

SHIPPED_ENCODER_NAME = "precedent-cxr-2"

_ENCODERS = Path(__file__).resolve().parent / "encoders"


def shipped_encoder() -> Path:
    """Return the folder of the shipped encoder.

    Returns
    -------
    pathlib.Path
        A folder in Hugging Face layout with a manifest, for `OnnxImageEmbedder.from_folder`.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if this installation lacks it.

    """
    folder = _ENCODERS / SHIPPED_ENCODER_NAME
    if not (folder / MANIFEST_FILE).is_file():
        raise CdsError(
            Reason.MODEL_UNAVAILABLE,
            f"The shipped image model {SHIPPED_ENCODER_NAME} is not installed.",
        )
    return folder


def shipped_encoders() -> tuple[Path, ...]:
    """Return the folders of every encoder that comes with this version, by name."""
    return tuple(sorted(p for p in _ENCODERS.glob("*") if (p / MANIFEST_FILE).is_file()))
