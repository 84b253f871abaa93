"""Composition of the de-identification that an import passes."""

from __future__ import annotations

from cds.library.deidentification import Deidentifier
from cds.ports import IdentityKeys
from models.text_detector import OnnxTextDetector


def shipped_deidentifier(keys: IdentityKeys, *, writing_reviewed: bool = False) -> Deidentifier:
    """Return the de-identifier with the text detector that comes with the product.

    Parameters
    ----------
    keys
        Of this installation.
    writing_reviewed
        A person has declared that the writing on the pictures names nobody.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if the detector is missing or was changed.

    """
    return Deidentifier(keys, OnnxTextDetector.shipped(), writing_reviewed)
