"""Labelled folders: the name of the folder that a picture lies in is what it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cds.domain.errors import CdsError, Reason
from cds.domain.facts import Finding
from cds.library.finding_terms import findings_from_text
from cds.library.picture_folder import picture_files
from cds.library.source_case import RejectedRow, SourceCase, SourcePicture, SourceRow

FORMAT = "labelled-folder"
NO_CLASS = "the picture lies in no labelled folder"
NO_PATIENT_IN_NAME = "the file name does not hold a patient as the pattern says"


@dataclass(frozen=True, slots=True)
class FolderReading:
    """How the names in a labelled folder are to be read.

    Attributes
    ----------
    collection, licence
        Of all pictures.
    patient_pattern
        Regular expression whose first group is the patient in a path below the folder; None: each
        picture is of a patient of its own, which the person who imports has to declare.
    modality, body_part
        Of pictures that do not say it themselves.

    """

    collection: str
    licence: str = ""
    patient_pattern: str | None = None
    modality: str | None = None
    body_part: str | None = None


def read_labelled_folder(folder: Path, reading: FolderReading) -> Iterator[SourceRow]:
    """Read one case per picture; the folder right above it names its finding.

    A label is what somebody sorted the picture by: how it was confirmed is not known. The
    collection is a reference: it has no dates.

    Raises
    ------
    CdsError
        INVALID_REQUEST if the pattern is no regular expression with a group.

    """
    pattern = compiled_pattern(reading.patient_pattern)
    for file in picture_files(folder):
        name = file.relative_to(folder).as_posix()
        if file.parent == folder:
            yield RejectedRow(name, NO_CLASS)
            continue
        patient = name
        if pattern is not None:
            match = pattern.search(name)
            if match is None or not match.group(1):
                yield RejectedRow(name, NO_PATIENT_IN_NAME)
                continue
            patient = match.group(1)
        label = re.sub(r"[_\s]+", " ", file.parent.name).strip()
        yield SourceCase(
            row_name=name,
            collection=reading.collection,
            study_name=name,
            patient_namespace=reading.collection,
            patient_value=patient,
            pictures=(SourcePicture(name, file),),
            modality=reading.modality,
            body_part=reading.body_part,
            is_reference=True,
            findings=_findings(label),
            licence=reading.licence,
        )


def _findings(label: str) -> tuple[Finding, ...]:
    """Return what the label names; a word that is in no list is a label, not a diagnosis."""
    return tuple(
        replace(f, is_diagnosis=f.is_diagnosis and f.coding.code is not None)
        for f in findings_from_text(label)
    )


def compiled_pattern(text: str | None) -> re.Pattern[str] | None:
    """Compile the pattern that finds the patient in a path.

    Raises
    ------
    CdsError
        INVALID_REQUEST if it is no regular expression with a group.

    """
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error:
        pattern = None
    if pattern is None or pattern.groups < 1:
        raise CdsError(
            Reason.INVALID_REQUEST,
            "The patient pattern is no regular expression with a group, such as 'person(\\d+)'.",
        )
    return pattern
