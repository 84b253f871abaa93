"""DICOMweb over the folder: QIDO-RS and WADO-RS, with a token or the PACS account."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import pydicom
from flask import Blueprint, Flask, Response, abort, g, request
from pydicom.errors import InvalidDicomError

from sandbox.web.authorization_server import no_store
from sandbox.web.bearer import bearer_token, is_pacs_account
from sandbox.web.qido import BadQueryError, search
from sandbox.web.search_parameters import values_at

if TYPE_CHECKING:
    from sandbox.web.dicom_folder import StoredInstance
    from sandbox.web.grants import TokenRecord
    from sandbox.web.hospital import Hospital

DICOM_JSON = "application/dicom+json"
_STUDY = "/studies/<study>"
_SERIES = f"{_STUDY}/series/<series>"
_INSTANCE = f"{_SERIES}/instances/<instance>"


def register(app: Flask, hospital: Hospital) -> None:
    """Add DICOMweb to the program."""
    api = Blueprint("dicomweb", __name__, url_prefix="/dicomweb")
    doors = _Doors(hospital)
    api.before_request(doors.authorize)
    api.after_request(no_store)
    for path, level in (
        ("/studies", "studies"),
        ("/series", "series"),
        ("/instances", "instances"),
        (f"{_STUDY}/series", "series"),
        (f"{_STUDY}/instances", "instances"),
        (f"{_SERIES}/instances", "instances"),
    ):
        api.add_url_rule(path, path, doors.search, defaults={"level": level})
    for path in (_STUDY, _SERIES, _INSTANCE):
        api.add_url_rule(path, path, doors.retrieve)
        api.add_url_rule(f"{path}/metadata", f"{path}/metadata", doors.metadata)
    api.add_url_rule(f"{_INSTANCE}/frames/<frames>", view_func=doors.frames)
    app.register_blueprint(api)


class _Doors:
    """The transactions of the service."""

    def __init__(self, hospital: Hospital) -> None:
        self._hospital = hospital

    def authorize(self) -> Response | None:
        """Answer 503 while an outage is on, 401 or 403 to a caller without the right."""
        if self._hospital.pacs_switch.is_refusing():
            return Response("The PACS is down for the moment.\n", 503)
        if is_pacs_account(self._hospital):
            g.visible = None
            return None
        token = bearer_token(self._hospital)
        if token is None:
            challenge = 'Bearer realm="pacs", Basic realm="pacs"'
            return Response("A token is required.\n", 401, {"WWW-Authenticate": challenge})
        limited = token.is_limited_to_patient("ImagingStudy", "r")
        if limited is None:
            return Response("The token does not cover ImagingStudy.\n", 403)
        g.visible = _visible_studies(self._hospital, token) if limited else None
        return None

    def search(self, level: str, study: str | None = None, series: str | None = None) -> Response:
        """Serve QIDO-RS; no match is 204."""
        try:
            found = search(
                self._permitted(study, series), level, list(request.args.items(multi=True))
            )
        except BadQueryError as error:
            return Response(f"{error}\n", 400)
        return _dicom_json(found) if found else Response(status=204)

    def retrieve(
        self, study: str, series: str | None = None, instance: str | None = None
    ) -> Response:
        """Serve WADO-RS: whole instances as they are stored."""
        found = self._found(study, series, instance)
        wanted = request.headers.get("Accept", "*/*")
        if "application/dicom" not in wanted.replace(DICOM_JSON, "") and "*/*" not in wanted:
            return Response("Only multipart/related; type=application/dicom is served.\n", 406)
        parts = [
            (f"application/dicom; transfer-syntax={one.transfer_syntax_uid}", one.path.read_bytes())
            for one in found
        ]
        return _multipart("application/dicom", parts)

    def metadata(
        self, study: str, series: str | None = None, instance: str | None = None
    ) -> Response:
        """Serve the attributes without the pixels."""
        found = self._found(study, series, instance)
        return _dicom_json([dict(one.header.to_json_dict()) for one in found])

    def frames(self, study: str, series: str, instance: str, frames: str) -> Response:
        """Serve uncompressed frames."""
        one = self._found(study, series, instance)[0]
        try:
            dataset = pydicom.dcmread(one.path)
            n_frames = int(dataset.get("NumberOfFrames", 1) or 1)
            pixels = bytes(dataset.PixelData)
            wanted = [int(text) for text in frames.split(",")]
        except (InvalidDicomError, EOFError, AttributeError, ValueError):
            return Response("The instance has no frames that can be read.\n", 406)
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            return Response("Compressed frames are not served one by one.\n", 406)
        size = len(pixels) // n_frames
        if not all(1 <= number <= n_frames for number in wanted):
            return Response("There is no such frame.\n", 404)
        parts = [
            ("application/octet-stream", pixels[(number - 1) * size : number * size])
            for number in wanted
        ]
        return _multipart("application/octet-stream", parts)

    def _permitted(self, *uids: str | None) -> tuple[StoredInstance, ...]:
        visible: frozenset[str] | None = g.visible
        found = self._hospital.dicom.instances(*uids)
        return tuple(one for one in found if visible is None or one.study_instance_uid in visible)

    def _found(self, *uids: str | None) -> tuple[StoredInstance, ...]:
        found = self._permitted(*uids)
        if not found:
            abort(Response("There is nothing under this address.\n", 404))
        return found


def _visible_studies(hospital: Hospital, token: TokenRecord) -> frozenset[str]:
    """Return the studies of the token's patient: listed, ordered, or named theirs.

    A study that the record lists for the patient stays visible even where its header names someone
    else: it is the caller who has to notice.
    """
    patient_id = token.patient_id or ""
    own = hospital.store.of_patient("ImagingStudy", patient_id)
    orders = hospital.store.of_patient("ServiceRequest", patient_id)
    patient = hospital.store.read("Patient", patient_id)
    named = {str(v) for r in (*own, *orders) for v in values_at(r, "identifier.value")}
    numbers = {str(v) for v in values_at(patient or {}, "identifier.value")}
    return frozenset(
        one.study_instance_uid
        for one in hospital.dicom.instances()
        if f"urn:oid:{one.study_instance_uid}" in named
        or one.study_instance_uid in named
        or str(one.header.get("AccessionNumber", "")) in named
        or str(one.header.get("PatientID", "")) in numbers
    )


def _dicom_json(document: list[dict[str, Any]]) -> Response:
    return Response(json.dumps(document), content_type=DICOM_JSON)


def _multipart(part_type: str, parts: list[tuple[str, bytes]]) -> Response:
    boundary = secrets.token_hex(16)
    body = b"".join(
        f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        + content
        + b"\r\n"
        for kind, content in parts
    )
    kind = f'multipart/related; type="{part_type}"; boundary={boundary}'
    return Response(body + f"--{boundary}--\r\n".encode(), content_type=kind)
