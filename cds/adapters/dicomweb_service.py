"""One DICOMweb service for one call: which instances there are, and their frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dicomweb_client import DICOMwebClient

from cds.adapters import dicom_json
from cds.adapters.dicom_objects import PEER_NAME, retrieved_object
from cds.adapters.egress import EgressClient
from cds.adapters.egress_session import BoundCredential
from cds.domain.errors import CdsError, Reason
from cds.domain.instance_selection import (
    InstanceRecord,
    SeriesRecord,
    frontal_first,
    placed,
    wanted_instances,
)
from cds.ports import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from cds.domain.pixels import PixelFrame
    from cds.domain.study import StudyRef

MAX_SEARCH_BYTES = 8 * 1024 * 1024
MAX_STUDIES = 10
INSTANCE_FIELDS = ("00080008", "00185101", "00200032", "00200037", "00280008")


class FrameDecoder(Protocol):
    """Turns the bytes of a DICOM object into frames."""

    def __call__(self, content: bytes, *, timeout_s: float | None) -> tuple[PixelFrame, ...]:
        """Return the frame to compare; CdsError where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class DicomwebService:
    """One DICOMweb service for the duration of one call."""

    root: str
    client: EgressClient
    credential: BoundCredential | None
    deadline: Deadline
    decode: FrameDecoder

    def frames(
        self, study: StudyRef, patient_id_value: str | None, issuer: str | None
    ) -> tuple[PixelFrame, ...]:
        """Return the frames of a study to compare: frontal views, or the middle slice, first.

        Raises
        ------
        CdsError
            As `DicomwebSource.retrieve_frames`.

        """
        study_uid = study.study_instance_uid
        if study_uid is None:
            study_uid = self._uid_by_accession(
                study.accession_number or "", patient_id_value, issuer
            )
        if not dicom_json.UID.fullmatch(study_uid):
            raise CdsError(Reason.NO_IMAGING, "The study's UID is not a DICOM UID.")
        instances = self._chosen(study_uid, study.modality)
        frames: list[PixelFrame] = []
        refusals: list[CdsError] = []
        for instance in instances:
            try:
                frames.extend(self._retrieved(study_uid, instance))
            except CdsError as error:
                if error.reason not in {Reason.IMAGE_UNREADABLE, Reason.IMAGE_UNSUPPORTED}:
                    raise
                refusals.append(error)
        if not frames:
            raise refusals[0]
        return frontal_first(frames)  # stable: key slices stay in their order

    def _chosen(self, study_uid: str, modality: str | None) -> tuple[InstanceRecord, ...]:
        searcher = self._searcher()
        found = dicom_json.series_from_json(
            _searched(lambda: searcher.search_for_series(study_instance_uid=study_uid))
        )
        if not found:
            raise CdsError(Reason.NO_IMAGING, "The PACS does not know this study.")

        def instances_of(one: SeriesRecord) -> tuple[InstanceRecord, ...]:
            answers = _searched(
                lambda: searcher.search_for_instances(
                    study_instance_uid=study_uid,
                    series_instance_uid=one.series_instance_uid,
                    fields=INSTANCE_FIELDS,
                )
            )
            return dicom_json.instances_from_json(answers, one.series_instance_uid)

        chosen = wanted_instances(found, modality, instances_of)
        if not chosen:
            raise CdsError(
                Reason.IMAGE_UNSUPPORTED, "The study holds no picture of a supported kind."
            )
        return chosen

    def _uid_by_accession(
        self, accession_number: str, patient_id_value: str | None, issuer: str | None
    ) -> str:
        filters = {"AccessionNumber": accession_number}
        if patient_id_value is not None:
            filters["PatientID"] = patient_id_value
        searcher = self._searcher()
        answers = _searched(
            lambda: searcher.search_for_studies(
                search_filters=filters, fields=(dicom_json.ISSUER_OF_PATIENT_ID,), limit=MAX_STUDIES
            )
        )
        wanted = (accession_number, patient_id_value, issuer)
        uids = {
            uid
            for answer in answers
            if _is_wanted(answer, *wanted)
            and (uid := dicom_json.uid_at(answer, dicom_json.STUDY_INSTANCE_UID))
        }
        if len(uids) > 1:
            raise CdsError(
                Reason.NO_IMAGING, "More than one study has this accession number; none was taken."
            )
        if not uids:
            raise CdsError(Reason.NO_IMAGING, "The PACS knows no study of this accession number.")
        return uids.pop()

    def _retrieved(self, study_uid: str, instance: InstanceRecord) -> tuple[PixelFrame, ...]:
        url = (
            f"{self.root}/studies/{study_uid}/series/{instance.series_instance_uid}"
            f"/instances/{instance.sop_instance_uid}"
        )
        content = retrieved_object(
            self.client, url, deadline=self.deadline, credential=self.credential
        )
        frames = self.decode(content, timeout_s=self.deadline.remaining_s())
        for frame in frames:
            if (
                frame.identity.study_instance_uid != study_uid
                or frame.sop_instance_uid != instance.sop_instance_uid
            ):
                raise CdsError(
                    Reason.IDENTITY_MISMATCH,
                    "The PACS answered with another study or instance. Tell the PACS team.",
                    fields="study UID",
                )
        return placed(frames, instance.place)

    def _searcher(self) -> Any:  # noqa: ANN401  # dicomweb-client ships no types
        session = self.client.session(
            peer_name=PEER_NAME,
            deadline=self.deadline,
            credential=self.credential,
            max_bytes=MAX_SEARCH_BYTES,
        )
        searcher = DICOMwebClient(self.root, session=session, permissive_uid=True)
        searcher.set_http_retry_params(retry=False)  # by default it waits for seconds
        return searcher


def _searched(search: Callable[[], list[Any]]) -> list[Any]:
    """Return what a search gave; some servers answer 404 where nothing matches."""
    try:
        answers = search()
    except CdsError as error:
        if error.reason is Reason.NOT_FOUND:
            return []
        raise
    except (TypeError, ValueError) as error:
        raise CdsError(
            Reason.UPSTREAM_FAILED, "The PACS answered a search with something else than JSON."
        ) from error
    return list(answers)


def _is_wanted(
    answer: object, accession_number: str, patient_id_value: str | None, issuer: str | None
) -> bool:
    """Check a search result ourselves: servers ignore what they do not know, wildcards match."""
    found_issuer = dicom_json.text(answer, dicom_json.ISSUER_OF_PATIENT_ID)
    return (
        dicom_json.text(answer, dicom_json.ACCESSION_NUMBER) == accession_number
        and (
            patient_id_value is None
            or dicom_json.text(answer, dicom_json.PATIENT_ID) == patient_id_value
        )
        and (issuer is None or found_issuer in {None, issuer})
    )
