"""Fetches the pictures of a study over DICOMweb, from the places that the record names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.adapters.dicom_files import frames_from_dicom
from cds.adapters.dicomweb_service import DicomwebService, FrameDecoder
from cds.adapters.egress import basic, bearer
from cds.adapters.egress_policy import origin_of
from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from cds.adapters.egress import EgressClient
    from cds.adapters.egress_session import BoundCredential
    from cds.domain.pixels import PixelFrame
    from cds.domain.registration import EhrRegistration
    from cds.domain.study import StudyRef
    from cds.ports import Deadline, FhirAccess

_TRY_ELSEWHERE = frozenset(
    {
        Reason.NO_IMAGING,
        Reason.NOT_FOUND,
        Reason.UPSTREAM_FAILED,
        Reason.UPSTREAM_REFUSED,
        Reason.EGRESS_REFUSED,
    }
)


class DicomwebSource:
    """A `cds.ports.ImageSource` over DICOMweb.

    Parameters
    ----------
    client_for
        Registration -> HTTP client of that EHR.
    decode
        Bytes of an instance -> frames.

    """

    def __init__(
        self,
        client_for: Callable[[EhrRegistration], EgressClient],
        *,
        decode: FrameDecoder = frames_from_dicom,
    ) -> None:
        self._client_for = client_for
        self._decode = decode

    def retrieve_frames(
        self,
        access: FhirAccess,
        study: StudyRef,
        *,
        patient_id_value: str | None,
        deadline: Deadline,
    ) -> tuple[PixelFrame, ...]:
        """Return the frames to compare, key frame first.

        The study's own Endpoint is asked first, then the EHR's default PACS (CLINICAL 2.1).

        Parameters
        ----------
        access
            Its token goes only to a PACS on the FHIR server's own origin.
        study
            That the caller's own FHIR answer listed; without a UID it is found by accession number.
        patient_id_value
            Patient ID that the PACS should know; narrows a search by accession number.
        deadline
            Bounds each request and the decoding.

        Raises
        ------
        CdsError
            NO_IMAGING, IMAGE_UNREADABLE, IMAGE_UNSUPPORTED, IDENTITY_MISMATCH, UPSTREAM_FAILED,
            UPSTREAM_REFUSED, EGRESS_REFUSED or DEADLINE.

        """
        client = self._client_for(access.registration)
        errors: list[CdsError] = []
        for root in _roots(client, access.registration, study):
            credential = credential_for(access, root)
            pacs = DicomwebService(root, client, credential, deadline, self._decode)
            try:
                return pacs.frames(study, patient_id_value, access.registration.pacs_issuer)
            except CdsError as error:
                is_callers_own = credential is not None and credential.is_callers_own
                if error.reason not in _TRY_ELSEWHERE or (
                    error.reason is Reason.UPSTREAM_REFUSED and is_callers_own
                ):
                    raise  # what the caller may not see is not fetched with our account
                errors.append(error)
        # What may be mended speaks first: a PACS that is down, before one that has no such study.
        outages = [e for e in errors if e.reason not in {Reason.NO_IMAGING, Reason.NOT_FOUND}]
        if outages:
            raise outages[0]
        raise CdsError(Reason.NO_IMAGING, "The PACS has no pictures of this study.")


def _roots(client: EgressClient, registration: EhrRegistration, study: StudyRef) -> tuple[str, ...]:
    """Return the services to ask, in order; an unregistered Endpoint is passed over."""
    stated = (study.dicomweb_url, registration.default_pacs_url)
    roots = tuple(dict.fromkeys(url.rstrip("/") for url in stated if url and client.allows(url)))
    if roots:
        return roots
    if study.dicomweb_url:
        raise CdsError(
            Reason.EGRESS_REFUSED,
            "The study's image server is not registered for this EHR; ask your administrator.",
        )
    raise CdsError(
        Reason.NO_IMAGING, "The record names no image server, and none is registered for this EHR."
    )


def credential_for(access: FhirAccess, root: str) -> BoundCredential | None:
    """Return what a DICOMweb root is asked with: the caller's token, our PACS account, or None."""
    registration = access.registration
    origin = origin_of(root)
    if access.access_token is not None and origin == origin_of(registration.fhir_base_url):
        return bearer(access.access_token, root)
    user, password = registration.pacs_user, registration.pacs_password
    pacs_url = registration.default_pacs_url
    if user and password and pacs_url and origin == origin_of(pacs_url):
        return basic(user, password, root)
    return None
