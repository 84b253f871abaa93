"""The PACS, step by step: does it answer QIDO-RS, and to our account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cds.adapters.dicomweb import credential_for
from cds.adapters.dicomweb_service import PEER_NAME
from cds.domain.check_line import CheckLine, failed, passed, unknown
from cds.domain.errors import CdsError
from cds.domain.time_limit import TimeLimit
from cds.ports import FhirAccess

if TYPE_CHECKING:
    from cds.adapters.egress import EgressClient
    from cds.domain.registration import EhrRegistration
    from cds.domain.secrecy import SecretText

STEP_LIMIT_S = 15.0
NO_STUDY = "2.25.0"  # a UID that no study has: a search without anybody's data
_STATUS_ADVICE = {
    401: "the PACS does not accept our account: check --pacs-user and --pacs-password-file",
    403: "the account may not search: have it granted QIDO-RS and WADO-RS",
    404: "there is no QIDO-RS at this root: check --default-pacs-url (often .../dicom-web)",
    406: "the PACS does not speak application/dicom+json: ask its team to enable DICOM JSON",
    501: "the PACS does not offer QIDO-RS: put a DICOMweb gateway before it",
    503: "the PACS is down or overloaded: tell the PACS team",
}


def qido_line(
    registration: EhrRegistration, http: EgressClient, token: SecretText | None
) -> CheckLine:
    """Search for a study that does not exist; nobody's data is asked for."""
    name, root = "pacs qido", registration.default_pacs_url
    if root is None:
        return unknown(
            name,
            "no default PACS is registered",
            "add one with --default-pacs-url, or rely on ImagingStudy endpoints alone",
        )
    root = root.rstrip("/")
    session = http.session(
        deadline=TimeLimit(STEP_LIMIT_S),
        credential=credential_for(FhirAccess(registration, token, ""), root),
        any_status=True,
        peer_name=PEER_NAME,
    )
    url = f"{root}/studies?StudyInstanceUID={NO_STUDY}&limit=1"
    try:
        response = session.get(url, headers={"Accept": "application/dicom+json"})
    except CdsError as error:
        return failed(name, error.sentence, "see the lines on DNS, TCP and TLS of the PACS above")
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    if response.status_code == 204 or (
        response.status_code == 200 and kind in {"application/dicom+json", "application/json"}
    ):
        return passed(name, "GET /studies?... is answered")
    if response.status_code == 200:
        return failed(
            name,
            f"GET /studies?... answered {kind or 'no media type'} instead of DICOM JSON",
            "check --default-pacs-url: this is often the address of a web page",
        )
    return failed(
        name,
        f"GET /studies?... answered {response.status_code}",
        _STATUS_ADVICE.get(response.status_code, "ask the PACS team for its log of this minute"),
    )
