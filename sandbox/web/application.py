"""Puts the sandbox's doors together as one Flask program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, request

from sandbox.web import dicomweb_api, ehr_screen, fhir_api, smart_api
from sandbox.web.dicom_folder import DicomFolder
from sandbox.web.fhir_store import FhirStore, load_folder
from sandbox.web.hospital import Hospital
from sandbox.web.laboratory import SPARK_HEIGHT_PX, SPARK_WIDTH_PX
from sandbox.web.staff import practitioners

if TYPE_CHECKING:
    from flask import Response

    from sandbox.web.places import Places, SharedSecrets

PICTURE_PATIENTS = "picture-"  # ids of the patients that `sandbox.pictures` makes
BODY_LIMIT_BYTES = 4 * 1024 * 1024


def open_hospital(data_dir: Path, places: Places, secrets: SharedSecrets) -> Hospital:
    """Load the records and pictures that the generator has written.

    Parameters
    ----------
    data_dir
        Holds ``fhir/*.json``, ``dicom/<study>/<instance>.dcm`` and ``patients.json``.

    Raises
    ------
    FileNotFoundError
        If the folder holds no records.

    """
    folder = data_dir / "fhir"
    if not folder.is_dir():
        raise FileNotFoundError(f"There are no FHIR resources under {folder}.")
    store = FhirStore(practitioners())
    for resource in load_folder(folder, dicomweb_url=places.dicomweb_url):
        store.put(resource)
    return Hospital(
        places=places,
        secrets=secrets,
        store=store,
        dicom=DicomFolder(data_dir / "dicom"),
        guide=_guide(data_dir / "patients.json"),
        data_dir=data_dir,
    )


def create_app(hospital: Hospital) -> Flask:
    """Return the program with all doors."""
    here = Path(__file__).parent
    app = Flask(
        "sandbox",
        template_folder=str(here / "templates"),
        static_folder=str(here / "assets"),
        static_url_path="/static",
    )
    app.secret_key = hospital.secrets.session_key
    app.config.update(
        MAX_CONTENT_LENGTH=BODY_LIMIT_BYTES,
        SESSION_COOKIE_NAME="ehr_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        TEMPLATES_AUTO_RELOAD=False,
    )
    for door in (smart_api, fhir_api, dicomweb_api, ehr_screen):
        door.register(app, hospital)
    policy = _content_security_policy(hospital.places.app_url)

    @app.after_request
    def protect(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "same-origin")
        if not request.path.startswith("/static/"):
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    @app.context_processor
    def constants() -> dict[str, Any]:
        return {
            "spark_width": SPARK_WIDTH_PX,
            "spark_height": SPARK_HEIGHT_PX,
            "ribbon": _ribbon(hospital),
        }

    return app


def _ribbon(hospital: Hospital) -> str:
    """Return what every page says about its patients: pictures may be of a collection."""
    if any(p["id"].startswith(PICTURE_PATIENTS) for p in hospital.store.all_of("Patient")):
        return "Sandbox: identities are invented, some pictures are from a collection"
    return "Sandbox: every patient is synthetic"


def _content_security_policy(app_url: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            f"frame-src 'self' {app_url}",
            "frame-ancestors 'self'",
            f"form-action 'self' {app_url}",
            "base-uri 'none'",
        )
    )


def _guide(path: Path) -> dict[str, tuple[str, str, str]]:
    """Return what each try-out patient shows, by patient id."""
    if not path.is_file():
        return {}
    entries = json.loads(path.read_text(encoding="utf-8"))["patients"]
    return {
        str(entry["patient_id"]): (_case(entry), str(entry["story"]), str(entry["expected"]))
        for entry in entries
    }


def _case(entry: dict[str, Any]) -> str:
    """Return what the guide calls a patient: P1 to P12, or the name of a fixture."""
    if entry["is_fixture"]:
        return str(entry["patient_id"]).removeprefix("fx-")
    return f"P{entry['number']}"
