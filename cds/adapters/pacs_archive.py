"""A hospital's PACS as an archive that is walked politely, over DICOMweb."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from zoneinfo import ZoneInfo

from cds.adapters import dicom_json
from cds.adapters.dicom_objects import retrieved_object, stated_identity
from cds.adapters.dicomweb_service import INSTANCE_FIELDS
from cds.adapters.egress import EgressClient, basic
from cds.adapters.pacs_gate import Meter, PacsGate, Work
from cds.adapters.qido_search import INSTANCES_PAGE, PAGE, End, Found, QidoSearch
from cds.adapters.study_walk import StudyWalk
from cds.domain.archive import ArchivedInstance, ArchivedStudy, StudySearch
from cds.domain.errors import CdsError, Reason
from cds.domain.instance_selection import (
    FILMS,
    NOT_PICTURES,
    InstanceRecord,
    SeriesRecord,
    wanted_instances,
)
from cds.domain.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cds.domain.registration import EhrRegistration
    from cds.ports import Clock

SERIES_INSTANCE_UID = "0020000E"
SOP_INSTANCE_UID = "00080018"


class InstanceChoice(Protocol):
    """Says which instances of a study are worth fetching; `wanted_instances` is the product's."""

    def __call__(
        self,
        series: Sequence[SeriesRecord],
        modality: str | None,
        instances_of: Callable[[SeriesRecord], Sequence[InstanceRecord]],
    ) -> tuple[InstanceRecord, ...]:
        """Return them; `instances_of` asks the PACS, so only for series that may be chosen."""
        ...


class DicomwebArchive:
    """The PACS of one EHR; implements `cds.library.archive_ports.PictureArchive`.

    Every request passes the gate of the PACS, so that several threads, an import and a poller
    together keep to its policy. Only what is compared is fetched: two films at most, of CT and MR
    the slices that `choose` names.

    Parameters
    ----------
    registration
        Its `default_pacs_url`, account, time zone and policy.
    client
        HTTP under the egress rules of this EHR.
    gate
        Of this PACS; shared with everybody else who asks it.
    clock
        Says which day is today.
    choose
        Picks the instances from what the PACS says of its series.
    work
        BULK for an import, PROMPT for a study that has just arrived.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if the registration names no PACS, or an unknown time zone.

    """

    def __init__(
        self,
        registration: EhrRegistration,
        client: EgressClient,
        gate: PacsGate,
        *,
        clock: Clock,
        choose: InstanceChoice = wanted_instances,
        work: Work = Work.BULK,
    ) -> None:
        url = registration.default_pacs_url
        if url is None:
            raise CdsError(Reason.INVALID_CONFIGURATION, "No PACS is registered for this EHR.")
        user, password = registration.pacs_user, registration.pacs_password
        self._root = url.rstrip("/")
        self._client = client
        self._credential = basic(user, password, url) if user and password else None
        self._gate = gate
        self._clock = clock
        self._choose = choose
        self._work = work
        self._qido = QidoSearch(self._root, client, self._credential, gate, work)
        self._walk = StudyWalk(self._qido, zone=_zone(registration))

    def search_studies(self, search: StudySearch) -> Iterator[ArchivedStudy]:
        """Yield the studies asked for, oldest first, each once.

        The walk goes month by month. A study whose series name no body part is kept when body parts
        are asked for: the picture itself may tell.

        Raises
        ------
        CdsError
            UPSTREAM_FAILED, UPSTREAM_REFUSED or DEADLINE once the archive cannot be asked further,
            or cannot be listed without a gap.

        """
        return self._walk.studies(search, now=self._clock.now())

    def n_instances(self, study: ArchivedStudy) -> int:
        """Return how many instances the archive holds of a study now, counted one by one.

        Raises
        ------
        CdsError
            NO_IMAGING if it no longer knows the study; UPSTREAM_FAILED, UPSTREAM_REFUSED, DEADLINE.

        """
        path = f"/studies/{_checked(study)}"
        found = self._searched(f"{path}/instances", SOP_INSTANCE_UID, page=INSTANCES_PAGE)
        uids = _uids(found, SOP_INSTANCE_UID)
        if found.end is End.REPEATED:  # of one series fewer come, perhaps less than what is cut
            for series in self._series(f"{path}/series"):
                uids |= {i.sop_instance_uid for i in self._instances(f"{path}/series", series)}
        if not uids:
            raise CdsError(Reason.NO_IMAGING, "The PACS does not know this study.")
        return len(uids)

    def retrieve_instances(self, study: ArchivedStudy) -> tuple[ArchivedInstance, ...]:
        """Return the objects to be compared, whole and as stored; they are untrusted.

        Raises
        ------
        CdsError
            NO_IMAGING, IMAGE_UNSUPPORTED, IMAGE_UNREADABLE; IDENTITY_MISMATCH if the PACS hands out
            an object of another study or patient; UPSTREAM_FAILED, UPSTREAM_REFUSED or DEADLINE.

        """
        found: list[ArchivedInstance] = []
        refusals: list[CdsError] = []
        for instance in self._wanted(study):
            try:
                found.append(self._retrieved(study, instance))
            except CdsError as error:
                if error.reason is not Reason.IMAGE_UNREADABLE:
                    raise
                refusals.append(error)
        if not found:
            raise refusals[0]
        return tuple(found)

    def _wanted(self, study: ArchivedStudy) -> tuple[InstanceRecord, ...]:
        path = f"/studies/{_checked(study)}/series"
        found = self._series(path)
        if not found:
            raise CdsError(Reason.NO_IMAGING, "The PACS does not know this study.")
        wanted = self._choose(found, _modality(study), partial(self._instances, path))
        if not wanted:
            raise CdsError(
                Reason.IMAGE_UNSUPPORTED, "The study holds no picture of a supported kind."
            )
        return wanted

    def _series(self, path: str) -> tuple[SeriesRecord, ...]:
        found = self._searched(path, SERIES_INSTANCE_UID)
        if found.end is End.REPEATED and found.looks_cut:
            raise _cut()
        return dicom_json.series_from_json(list(found.answers))

    def _instances(self, path: str, series: SeriesRecord) -> tuple[InstanceRecord, ...]:
        """Return a series's instances; a list that may be cut has to agree with the count."""
        uid = series.series_instance_uid
        found = self._searched(
            f"{path}/{uid}/instances",
            SOP_INSTANCE_UID,
            page=INSTANCES_PAGE,
            fields=INSTANCE_FIELDS,
        )
        if not found.is_whole and series.n_instances not in {None, len(found.answers)}:
            raise _cut()
        if found.end is End.REPEATED and found.looks_cut and series.n_instances is None:
            raise _cut()
        return dicom_json.instances_from_json(list(found.answers), uid)

    def _retrieved(self, study: ArchivedStudy, instance: InstanceRecord) -> ArchivedInstance:
        url = (
            f"{self._root}/studies/{study.study_instance_uid}"
            f"/series/{instance.series_instance_uid}/instances/{instance.sop_instance_uid}"
        )

        def request(meter: Meter) -> bytes:
            content = retrieved_object(
                self._client,
                url,
                deadline=TimeLimit(self._gate.policy.request_limit_s),
                credential=self._credential,
            )
            meter(len(content))
            return content

        try:
            content = self._gate.ask(request, work=self._work)
        except CdsError as error:
            if error.reason is Reason.NOT_FOUND:  # it was listed a moment ago
                raise CdsError(
                    Reason.NO_IMAGING, "The PACS no longer holds a picture of this study."
                ) from error
            raise
        _check_identity(content, study, instance)
        return ArchivedInstance(
            instance.sop_instance_uid,
            instance.series_instance_uid,
            content,
            instance.place,
        )

    def _searched(
        self, path: str, key: str, *, page: int = PAGE, fields: tuple[str, ...] = ()
    ) -> Found:
        parameters: dict[str, Any] = {"includefield": fields} if fields else {}
        return self._qido.search(path, parameters, key=key, page=page)


def _check_identity(content: bytes, study: ArchivedStudy, instance: InstanceRecord) -> None:
    said = stated_identity(content)
    if (said.study_instance_uid, said.sop_instance_uid) != (
        study.study_instance_uid,
        instance.sop_instance_uid,
    ):
        raise CdsError(
            Reason.IDENTITY_MISMATCH,
            "The PACS answered with another study or instance. Tell the PACS team.",
            fields="study UID",
        )
    is_other_issuer = said.issuer and study.issuer and said.issuer != study.issuer
    listed = study.patient_id_value
    if (listed is not None and said.patient_id_value != listed) or is_other_issuer:
        raise CdsError(
            Reason.IDENTITY_MISMATCH,
            "A picture names another patient than the PACS's list of studies. Tell the PACS team.",
            fields="patient ID",
        )


def _checked(study: ArchivedStudy) -> str:
    if not dicom_json.UID.fullmatch(study.study_instance_uid):
        raise CdsError(Reason.NO_IMAGING, "The study's UID is not a DICOM UID.")
    return study.study_instance_uid


def _modality(study: ArchivedStudy) -> str | None:
    """Return what kind the study is, None if its kinds do not agree: films come first then."""
    kinds = [m for m in study.modalities if m not in NOT_PICTURES]
    films = [m for m in kinds if m in FILMS]
    if films:
        return films[0]
    return kinds[0] if len(kinds) == 1 else None


def _cut() -> CdsError:
    return CdsError(
        Reason.UPSTREAM_FAILED,
        "The PACS cuts the list of a study's objects off; raise its limit of search results.",
    )


def _uids(found: Found, key: str) -> set[str]:
    return {uid for answer in found.answers if (uid := dicom_json.uid_at(answer, key))}


def _zone(registration: EhrRegistration) -> ZoneInfo:
    name = registration.pacs_time_zone or registration.time_zone
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError) as error:
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            f"EHR {registration.ehr_id}: the time zone of its PACS is unknown.",
        ) from error
