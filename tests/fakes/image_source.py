"""An image source over objects in memory."""

from __future__ import annotations

from cds.adapters.dicom_files import frames_from_dicom
from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from cds.domain.study import StudyRef
from cds.ports import Deadline, FhirAccess


class FakeImageSource:
    """A `cds.ports.ImageSource`; an object that cannot be decoded is refused when asked for.

    Parameters
    ----------
    contents
        Study Instance UID -> bytes of its only picture.

    """

    def __init__(self, contents: dict[str, bytes]) -> None:
        self._contents = contents
        self.n_retrieved = 0

    def retrieve_frames(
        self,
        access: FhirAccess,
        study: StudyRef,
        *,
        patient_id_value: str | None,
        deadline: Deadline,
    ) -> tuple[PixelFrame, ...]:
        del access
        if deadline.remaining_s() <= 0:
            raise CdsError(Reason.DEADLINE, "The time was up.")
        self.n_retrieved += 1
        if study.study_instance_uid is not None:
            content = self._contents.get(study.study_instance_uid)
            if content is None:
                raise CdsError(Reason.NO_IMAGING, "There are no pictures of this study.")
            return frames_from_dicom(content, isolate=False)
        for content in self._contents.values():
            frames = frames_from_dicom(content, isolate=False)
            who = frames[0].identity
            is_asked_for = who.accession_number == study.accession_number
            if is_asked_for and patient_id_value in {None, who.patient_id_value}:
                return frames
        raise CdsError(Reason.NO_IMAGING, "There are no pictures of this study.")
