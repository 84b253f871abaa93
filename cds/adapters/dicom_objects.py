"""One whole DICOM object over WADO-RS, and what it says of itself before anybody decodes it."""

from __future__ import annotations

import logging
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag, Tag

from cds.adapters.dicom_decoding import BROKEN
from cds.adapters.multipart_related import parts_of
from cds.domain.deflated_dicom import deflated_from
from cds.domain.errors import CdsError, Reason

if TYPE_CHECKING:
    from pydicom import Dataset

    from cds.adapters.egress import EgressClient
    from cds.adapters.egress_session import BoundCredential
    from cds.ports import Deadline

logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its warnings quote values

PEER_NAME = "The PACS"  # an EHR may serve DICOMweb from its own origin
MAX_INSTANCE_BYTES = 128 * 1024 * 1024
# As stored: the PACS need not transcode, and what it cannot decode we can.
ACCEPT_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
MAX_INFLATED_HEADER_BYTES = 1024 * 1024
_LAST_TAG = 0x0020000D  # Study Instance UID; elements stand in the order of their tags
_STATED = ("StudyInstanceUID", "SOPInstanceUID", "PatientID", "IssuerOfPatientID")
_WANTED: list[BaseTag | int] = [Tag(keyword) for keyword in ("SpecificCharacterSet", *_STATED)]
NOT_DICOM = "The PACS answered with something that is not a DICOM object."


@dataclass(frozen=True, slots=True, repr=False)
class StatedIdentity:
    """Whose and which object this is, in its own words; None where it says nothing."""

    study_instance_uid: str
    sop_instance_uid: str
    patient_id_value: str | None
    issuer: str | None

    def __repr__(self) -> str:
        return "StatedIdentity(<redacted>)"


def retrieved_object(
    client: EgressClient,
    url: str,
    *,
    deadline: Deadline,
    credential: BoundCredential | None,
) -> bytes:
    """Return the bytes of one instance as the PACS stores it; untrusted.

    Parameters
    ----------
    client
        Of the EHR that the PACS belongs to.
    url
        Of the instance.
    deadline
        Bounds connecting and the whole answer.
    credential
        Sent only to its origin.

    Raises
    ------
    CdsError
        As `EgressClient.get`; UPSTREAM_FAILED if the answer is cut off or holds not one object.

    """
    response = client.get(
        url,
        deadline=deadline,
        headers={"Accept": ACCEPT_DICOM},
        credential=credential,
        max_bytes=MAX_INSTANCE_BYTES,
        peer_name=PEER_NAME,
    )
    parts = parts_of(response.body, response.headers.get("Content-Type", ""))
    if len(parts) != 1:
        raise CdsError(
            Reason.UPSTREAM_FAILED, f"The PACS answered {len(parts)} instances instead of one."
        )
    return parts[0]


def stated_identity(content: bytes) -> StatedIdentity:
    """Read who and what a DICOM object says it is; nothing beyond group 0020 is looked at.

    Parameters
    ----------
    content
        A whole DICOM object (PS3.10); untrusted. A deflated one is inflated only as far as its
        identity can reach.

    Raises
    ------
    CdsError
        IMAGE_UNREADABLE if it is none.

    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = _header(content)
            study_uid, sop_uid, patient, issuer = (_text(header, keyword) for keyword in _STATED)
        except (*BROKEN, NotImplementedError) as error:
            raise CdsError(Reason.IMAGE_UNREADABLE, NOT_DICOM) from error
    if study_uid is None or sop_uid is None:
        raise CdsError(Reason.IMAGE_UNREADABLE, NOT_DICOM)
    return StatedIdentity(study_uid, sop_uid, patient, issuer)


def _header(content: bytes) -> Dataset:
    deflated_at = deflated_from(content)
    if deflated_at is not None:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflated = inflater.decompress(content[deflated_at:], MAX_INFLATED_HEADER_BYTES)
        return read_dataset(
            BytesIO(inflated),
            is_implicit_VR=False,
            is_little_endian=True,
            stop_when=_is_behind,
            specific_tags=_WANTED,
        )
    return read_partial(BytesIO(content), stop_when=_is_behind, specific_tags=_WANTED)


def _is_behind(tag: Any, vr: str | None, length: int) -> bool:  # noqa: ANN401  # pydicom's own tag class
    del vr, length
    return int(tag) > _LAST_TAG


def _text(header: Dataset, keyword: str) -> str | None:
    value = header.get(keyword)
    return None if value is None else str(value).strip().strip("\0").strip() or None
