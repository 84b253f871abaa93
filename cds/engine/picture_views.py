"""Which study and which library picture a user may look at, and a picture of nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PixelFrame
from cds.library.picture_preparation import to_png

if TYPE_CHECKING:
    from cds.domain.case import LibraryCase
    from cds.domain.patient import ClinicalContext
    from cds.domain.region_pair import RegionPair
    from cds.domain.report import CaseReport
    from cds.domain.study import StudyRef

WARM_UP_SIDE_PX = 512
PAIR_GONE = "This case is no longer part of the answer. Load the page again."
SLICE_GONE = "The PACS no longer gives the slice that was compared. Load the page again."


def listed_study(context: ClinicalContext, wanted: StudyRef) -> StudyRef:
    """Return the study as the user's own FHIR answer lists it.

    Raises
    ------
    CdsError
        NOT_AUTHORIZED if it does not list it.

    """
    listed = next((study for study in context.studies if _is_same(study, wanted)), None)
    if listed is None:
        raise CdsError(Reason.NOT_AUTHORIZED, "This user's record does not list the study.")
    return listed


def matched_frame(
    frames: tuple[PixelFrame, ...], report: CaseReport | None, pair: RegionPair
) -> PixelFrame:
    """Return the query's frame that a case of an answer was found by: of CT and MR the slice.

    Parameters
    ----------
    frames
        Of the query's study, as they are fetched now.
    report
        The answer, None if it is gone.
    pair
        The case in it.

    Raises
    ------
    CdsError
        NOT_FOUND if the answer, or the case in it, is gone, or the study gives the slice no more.

    """
    wanted = (pair.case_id, pair.picture_id)
    neighbors = report.neighbors if report else ()
    matched = next((one for one in neighbors if (one.case_id, one.picture_id) == wanted), None)
    if matched is None:
        raise CdsError(Reason.NOT_FOUND, PAIR_GONE)
    place = matched.query_place
    found = next((one for one in frames if place is None or one.slice_place == place), None)
    if found is None:
        raise CdsError(Reason.NOT_FOUND, SLICE_GONE)
    return found


def blob_of(case: LibraryCase | None, picture_id: str, *, ehr_id: str) -> str:
    """Return the key of a library picture's blob.

    Raises
    ------
    CdsError
        NOT_FOUND if there is no such picture, or it belongs to another EHR.

    """
    pictures = case.pictures if case and case.owner_ehr_id in {None, ehr_id} else ()
    picture = next((one for one in pictures if one.picture_id == picture_id), None)
    if picture is None:
        raise CdsError(Reason.NOT_FOUND, "There is no such picture.")
    return picture.blob_key


def noise_png() -> bytes:
    """Return a picture of noise, which warms up what decodes, embeds and ranks."""
    noise = np.random.default_rng(0).random((WARM_UP_SIDE_PX, WARM_UP_SIDE_PX))
    return to_png(PixelFrame(noise.astype(np.float32), content_sha256=""))[2]


def _is_same(listed: StudyRef, wanted: StudyRef) -> bool:
    if wanted.study_instance_uid is not None:
        return listed.study_instance_uid == wanted.study_instance_uid
    return listed.accession_number == wanted.accession_number
