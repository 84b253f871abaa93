"""A de-identifier under a key of the test's own, with the detector that is shipped."""

from __future__ import annotations

from cds.adapters.identity_keys import HmacIdentityKeys
from cds.engine.deidentification import shipped_deidentifier
from cds.library.deidentification import Deidentifier


def a_deidentifier(*, key: bytes = b"k" * 32, writing_reviewed: bool = False) -> Deidentifier:
    """Ready to look at pictures and texts."""
    return shipped_deidentifier(HmacIdentityKeys(key), writing_reviewed=writing_reviewed)
