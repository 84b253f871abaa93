"""What the header of a retrieved picture says that matters to a comparison; no identity."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.errors import InvalidDicomError


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """Attributes of one instance; None where absent or empty."""

    transfer_syntax: str | None = None
    view_position: str | None = None
    patient_orientation: str | None = None
    laterality: str | None = None
    time_zone_offset: str | None = None


def header_facts(content: bytes) -> HeaderFacts:
    """Read the header; an unreadable one is all None."""
    try:
        dataset = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
    except (InvalidDicomError, EOFError, ValueError, KeyError, AttributeError):
        return HeaderFacts()
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    return HeaderFacts(
        transfer_syntax=None if syntax is None else str(syntax.name),
        view_position=_text(dataset.get("ViewPosition")),
        patient_orientation=_text(dataset.get("PatientOrientation")),
        laterality=_text(dataset.get("ImageLaterality")) or _text(dataset.get("Laterality")),
        time_zone_offset=_text(dataset.get("TimezoneOffsetFromUTC")),
    )


def _text(value: object) -> str | None:
    return str(value).strip() or None if value is not None else None
