"""De-identification on entry: header facts, pixels, report text (SAFETY R-HIP-1, 2, 8)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from cds.library.burned_in_text import TEXT_ON_PIXELS, writing_on
from cds.library.deidentification_report import DeidentificationReport
from cds.library.dicom_profile import PROFILE, HeaderProfile, allowed_facts, silent_pydicom
from cds.library.keyed_pseudonyms import KeyedPseudonyms
from cds.library.source_case import SourceCase
from cds.library.text_scrub import scrub
from cds.ports import IdentityKeys, TextDetector

RAW_REPORT = "report_text"  # name of a report among the notes of a source that declares nothing
UNREADABLE_HEADER = "The DICOM header cannot be read."


@dataclass(frozen=True, slots=True)
class Deidentifier:
    """What every picture and text passes before the library keeps anything of it.

    Parameters
    ----------
    keys
        Of this installation: pseudonyms differ between installations.
    detector
        Finds writing on pixels.
    writing_reviewed
        A person has declared that the writing on this collection's pictures names nobody: it is
        counted and kept.

    """

    keys: IdentityKeys
    detector: TextDetector
    writing_reviewed: bool = False

    @property
    def pseudonyms(self) -> KeyedPseudonyms:
        """Return the replacements of UIDs and dates, for whatever is shown or exported."""
        return KeyedPseudonyms(self.keys)

    def new_report(self) -> DeidentificationReport:
        """Return the empty report of one run."""
        return DeidentificationReport(profile=PROFILE, detector=self.detector.version)

    def frame(
        self,
        content: bytes,
        frame: PixelFrame,
        subject: tuple[str, str],
        report: DeidentificationReport,
    ) -> PixelFrame:
        """Return the frame with only those facts of its header that the profile lets through.

        Its `identity` stays: it is turned into keyed hashes and kept nowhere else.

        Parameters
        ----------
        content
            The whole file.
        frame
            What was decoded from it.
        subject
            Namespace and number of the patient; decides the date shift.
        report
            Where attributes are counted.

        Raises
        ------
        CdsError
            IMAGE_UNREADABLE if a DICOM header cannot be read.

        """
        if frame.modality is None and frame.sop_instance_uid is None:
            return frame  # a plain picture file: it has no header of which anything is kept
        header = _header(content)
        profile = HeaderProfile(self.pseudonyms, self.keys.patient_key(*subject), report)
        profile.apply(header)
        facts = allowed_facts(header)
        report.counts["DICOM headers"] += 1
        return replace(
            frame,
            modality=facts.modality,
            body_part=facts.body_part,
            view_position=facts.view_position,
            laterality=facts.laterality,
        )

    def check_pixels(self, report: DeidentificationReport, grey: NDArray[np.uint8]) -> None:
        """Refuse a picture with writing on it.

        Parameters
        ----------
        report
            Where pictures are counted.
        grey
            Shape ``(rows, columns)``, uint8, as it would be kept.

        Raises
        ------
        CdsError
            IMAGE_UNSUPPORTED if more than single letters and known markers is written on it.

        """
        found = writing_on(grey, self.detector)
        report.counts["pictures looked at for writing"] += 1
        if found.n_known_markers:
            report.counts["pictures with a known marker"] += 1
        if found.must_be_set_apart and self.writing_reviewed:
            report.counts["pictures with writing kept as reviewed"] += 1
        elif found.must_be_set_apart:
            report.counts["pictures quarantined for writing"] += 1
            raise CdsError(Reason.IMAGE_UNSUPPORTED, TEXT_ON_PIXELS)
        elif found.n_letters:
            report.counts["pictures with single letters kept"] += 1

    def report_text(self, row: SourceCase, report: DeidentificationReport) -> str | None:
        """Return a report's text that may be shown, or None.

        A text that its source declares de-identified is taken as it is; any other is scrubbed, and
        set apart where too little is left.
        """
        if row.report_text is not None:
            report.counts["texts declared de-identified"] += 1
            return row.report_text
        raw = row.notes.get(RAW_REPORT)
        if not raw:
            return None
        scrubbed = scrub(raw)
        report.counts["texts scrubbed"] += 1
        report.counts["words removed from texts"] += scrubbed.n_removed
        if not scrubbed.is_showable:
            report.counts["texts quarantined"] += 1
            return None
        return scrubbed.text


def _header(content: bytes) -> Dataset:
    try:
        with silent_pydicom():
            return pydicom.dcmread(BytesIO(content), stop_before_pixels=True, force=True)
    except (InvalidDicomError, OSError, ValueError):
        raise CdsError(Reason.IMAGE_UNREADABLE, UNREADABLE_HEADER) from None
