"""What a PACS holds, without pictures: one study's instances and rejections, and new studies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from cds.adapters import dicom_json
from cds.adapters.dicom_objects import PEER_NAME
from cds.adapters.dicomweb import first_answer
from cds.adapters.egress import EgressClient, basic
from cds.adapters.egress_session import BoundCredential
from cds.domain.arrival import REJECTION_CODES, FoundStudy, StudyInventory
from cds.domain.dates import PartialDate
from cds.domain.errors import CdsError, Reason
from cds.domain.pixels import PictureIdentity
from cds.ports import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from cds.domain.registration import EhrRegistration
    from cds.domain.study import StudyRef
    from cds.ports import FhirAccess

DICOM_JSON = "application/dicom+json"
MAX_SEARCH_BYTES = 8 * 1024 * 1024
PAGE_SIZE = 200
MAX_PAGES = 25
MAX_KEY_OBJECTS = 8
KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"
_SOP_CLASS, _SOP, _SERIES = "00080016", "00080018", "0020000E"
_STATION, _DEPARTMENT = "00081010", "00081040"
_MODALITIES, _N_INSTANCES = "00080061", "00201208"
_BIRTH_DATE, _SEX = "00100030", "00100040"
_REFERENCED_SOP = "00081155"
_STUDY_FIELDS = (dicom_json.ISSUER_OF_PATIENT_ID, _BIRTH_DATE, _SEX, _MODALITIES, _N_INSTANCES)
_INSTANCE_FIELDS = (_SOP_CLASS, _SERIES, _STATION, _DEPARTMENT)


class DicomwebInventories:
    """Implements `StudyInventories` and `NewStudies` of `cds.arrival_ports` over QIDO-RS."""

    def __init__(self, client_for: Callable[[EhrRegistration], EgressClient]) -> None:
        self._client_for = client_for

    def inventory(
        self,
        access: FhirAccess,
        study: StudyRef,
        *,
        patient_id_value: str | None,
        deadline: Deadline,
    ) -> StudyInventory:
        """Return what the PACS holds of a study now (see `StudyInventories.inventory`)."""
        client = self._client_for(access.registration)

        def ask(root: str, credential: BoundCredential | None) -> StudyInventory:
            search = _Search(root, client, credential, deadline)
            return search.inventory(study, patient_id_value)

        return first_answer(client, access, study, ask)

    def since(
        self, registration: EhrRegistration, first_on: date, *, deadline: Deadline
    ) -> tuple[FoundStudy, ...]:
        """Return the studies of enrolled modalities from that day on (see `NewStudies.since`)."""
        root = registration.default_pacs_url
        if root is None:
            raise CdsError(
                Reason.INVALID_CONFIGURATION, "No default PACS is registered for this EHR."
            )
        user, password = registration.pacs_user, registration.pacs_password
        credential = basic(user, password, root) if user and password else None
        client = self._client_for(registration)
        search = _Search(root.rstrip("/"), client, credential, deadline)
        found: dict[str, FoundStudy] = {}
        for modality in registration.arrival.modalities:
            for one in search.studies_since(first_on, modality):
                found.setdefault(one.study_instance_uid, one)
        return tuple(found.values())


@dataclass(frozen=True, slots=True)
class _Search:
    """One DICOMweb service for the duration of one call."""

    root: str
    client: EgressClient
    credential: BoundCredential | None
    deadline: Deadline

    def inventory(self, study: StudyRef, patient_id_value: str | None) -> StudyInventory:
        answer = self._study(study, patient_id_value)
        uid = dicom_json.uid_at(answer, dicom_json.STUDY_INSTANCE_UID) or ""
        instances = self._instances(uid)
        if not instances:
            raise CdsError(Reason.NO_IMAGING, "The PACS does not know this study.")
        named = [(dicom_json.uid_at(i, _SERIES), dicom_json.uid_at(i, _SOP)) for i in instances]
        listed = tuple(sorted((series or "", sop) for series, sop in named if sop))
        if len(listed) != len(instances):
            raise CdsError(Reason.UPSTREAM_FAILED, "The PACS lists instances without their UID.")
        places = (dicom_json.text(i, tag) for i in instances for tag in (_DEPARTMENT, _STATION))
        return StudyInventory(
            identity=_identity(answer),
            instances=listed,
            rejected=self._rejected(uid, instances),
            modalities=tuple(str(m) for m in dicom_json.values(answer, _MODALITIES)),
            locations=tuple(dict.fromkeys(place for place in places if place)),
            n_stated=dicom_json.number(answer, _N_INSTANCES),
        )

    def studies_since(self, first_on: date, modality: str) -> list[FoundStudy]:
        found: dict[str, FoundStudy] = {}
        for page in range(MAX_PAGES):
            answers = self._json(
                "/studies",
                StudyDate=f"{first_on:%Y%m%d}-",
                ModalitiesInStudy=modality,
                includefield=_STUDY_FIELDS,
                limit=str(PAGE_SIZE),
                offset=str(page * PAGE_SIZE),
            )
            new = {s.study_instance_uid: s for a in answers if (s := _found(a, modality))}
            if new.keys() <= found.keys():  # also a server that does not page
                break
            found |= new
            if len(answers) < PAGE_SIZE:
                break
        return list(found.values())

    def _study(self, study: StudyRef, patient_id_value: str | None) -> Mapping[str, Any]:
        """Return the study's own entry; searched ones are checked, servers ignore filters."""
        uid, accession = study.study_instance_uid, study.accession_number
        if uid is not None and not dicom_json.UID.fullmatch(uid):
            raise CdsError(Reason.NO_IMAGING, "The study's UID is not a DICOM UID.")
        filters = {"StudyInstanceUID": uid} if uid else {"AccessionNumber": accession or ""}
        if uid is None and patient_id_value is not None:
            filters["PatientID"] = patient_id_value
        answers = self._json("/studies", includefield=_STUDY_FIELDS, **filters)
        wanted = {
            dicom_json.uid_at(answer, dicom_json.STUDY_INSTANCE_UID): answer
            for answer in answers
            if (dicom_json.uid_at(answer, dicom_json.STUDY_INSTANCE_UID) == uid)
            or (uid is None and dicom_json.text(answer, dicom_json.ACCESSION_NUMBER) == accession)
        }
        wanted.pop(None, None)
        if len(wanted) != 1:
            raise CdsError(Reason.NO_IMAGING, "The PACS does not know this study, or several.")
        found: Mapping[str, Any] = next(iter(wanted.values()))
        return found

    def _instances(self, study_uid: str) -> list[Any]:
        """Return the study's instances; by series where a PACS lists none below a study."""
        found = self._json(f"/studies/{study_uid}/instances", includefield=_INSTANCE_FIELDS)
        if found:
            return found
        by_series: list[Any] = []
        for series in self._json(f"/studies/{study_uid}/series"):
            uid = dicom_json.uid_at(series, _SERIES)
            path = f"/studies/{study_uid}/series/{uid}/instances"
            answers = self._json(path, includefield=_INSTANCE_FIELDS) if uid else []
            by_series.extend({_SERIES: {"vr": "UI", "Value": [uid]}, **one} for one in answers)
        return by_series

    def _rejected(self, study_uid: str, instances: list[Any]) -> frozenset[str]:
        """Return what rejection notes in the study name (IHE RAD IOCM)."""
        notes = [i for i in instances if dicom_json.text(i, _SOP_CLASS) == KEY_OBJECT]
        rejected: set[str] = set()
        for note in notes[:MAX_KEY_OBJECTS]:
            series, sop = dicom_json.uid_at(note, _SERIES), dicom_json.uid_at(note, _SOP)
            path = f"/studies/{study_uid}/series/{series}/instances/{sop}/metadata"
            for document in self._json(path):
                titles = dicom_json.values(document, "0040A043")
                codes = {dicom_json.text(title, "00080100") for title in titles}
                if codes & REJECTION_CODES:
                    rejected |= _referenced(document)
        return frozenset(rejected)

    def _json(self, path: str, *, includefield: tuple[str, ...] = (), **filters: str) -> list[Any]:
        query = urlencode([*filters.items(), *(("includefield", tag) for tag in includefield)])
        try:
            response = self.client.get(
                f"{self.root}{path}" + (f"?{query}" if query else ""),
                deadline=self.deadline,
                headers={"Accept": DICOM_JSON},
                credential=self.credential,
                max_bytes=MAX_SEARCH_BYTES,
                peer_name=PEER_NAME,
            )
        except CdsError as error:
            if error.reason is Reason.NOT_FOUND:  # some servers answer so where nothing matches
                return []
            raise
        document = response.json() if response.body else []
        if not isinstance(document, list):
            raise CdsError(Reason.UPSTREAM_FAILED, "The PACS answered a search with no list.")
        return document


def _found(answer: object, modality: str) -> FoundStudy | None:
    uid = dicom_json.uid_at(answer, dicom_json.STUDY_INSTANCE_UID)
    listed = tuple(str(m) for m in dicom_json.values(answer, _MODALITIES))
    if uid is None or (listed and modality not in listed):
        return None
    return FoundStudy(
        study_instance_uid=uid,
        patient_id_value=dicom_json.text(answer, dicom_json.PATIENT_ID),
        issuer=dicom_json.text(answer, dicom_json.ISSUER_OF_PATIENT_ID),
        accession_number=dicom_json.text(answer, dicom_json.ACCESSION_NUMBER),
        modalities=listed or (modality,),
        n_instances=dicom_json.number(answer, _N_INSTANCES),
    )


def _identity(answer: object) -> PictureIdentity:
    return PictureIdentity(
        patient_id_value=dicom_json.text(answer, dicom_json.PATIENT_ID),
        issuer=dicom_json.text(answer, dicom_json.ISSUER_OF_PATIENT_ID),
        birth_on=_date(dicom_json.text(answer, _BIRTH_DATE)),
        sex=dicom_json.text(answer, _SEX),
        study_instance_uid=dicom_json.uid_at(answer, dicom_json.STUDY_INSTANCE_UID),
        accession_number=dicom_json.text(answer, dicom_json.ACCESSION_NUMBER),
    )


def _date(written: str | None) -> PartialDate | None:
    try:
        return PartialDate.from_dicom(written) if written else None
    except ValueError:
        return None


def _referenced(document: object) -> set[str]:
    """Return every Referenced SOP Instance UID below a data set."""
    found = {str(uid) for uid in dicom_json.values(document, _REFERENCED_SOP)}
    if isinstance(document, Mapping):
        for tag in document:
            for item in dicom_json.values(document, str(tag)):
                if isinstance(item, Mapping):
                    found |= _referenced(item)
    return found
