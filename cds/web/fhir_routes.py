"""The FHIR R4 API: our reports, read only, as the EHR's own tokens allow."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, request

from cds.domain.errors import CdsError, Reason
from cds.domain.registration import ReportMode
from cds.domain.report import CaseReport
from cds.domain.time_limit import TimeLimit
from cds.fhir.bundle import search_bundle
from cds.fhir.diagnostic_report import diagnostic_report_from_report, report_id_of
from cds.ports import AuditEvent
from cds.web.access import public
from cds.web.capabilities import capability_statement
from cds.web.engine_surface import current_engine
from cds.web.errors import HttpRefusalError
from cds.web.fhir_access import current_right, fhir_token
from cds.web.fhir_search import ReportSearch
from cds.web.report_page import ReportPage, checked_page
from cds.web.report_resources import resource_of
from cds.web.smart_document import smart_document
from cds.web.software import software_version
from cds.web.tenant import bind_tenant, current_registration, public_url, tenant_base
from cds.web.wire import fhir_response, json_response

JSON_TYPES = frozenset(
    {"application/fhir+json", "application/json", "application/json+fhir", "json", "text/json"}
)
FORM = "application/x-www-form-urlencoded"
SEARCH_LOOKS_S = 10.0  # looks of one search begin within it; what is left is the next page's
_NOT_THERE = "There is no such resource that this token may read."

fhir = Blueprint("fhir", __name__)
fhir.url_value_preprocessor(bind_tenant)


def install_fhir(app: Flask) -> None:
    """Add the FHIR addresses: each EHR's own, and an alias for the only one."""
    app.register_blueprint(fhir, url_prefix="/t/<ehr_id>/fhir")
    app.register_blueprint(fhir, url_prefix="/fhir", name="fhir_alias")


@fhir.get("/metadata")
@public
def capabilities() -> Response:
    """Return the CapabilityStatement."""
    _negotiate()
    return fhir_response(capability_statement(_base_url(), software_version=software_version()))


@fhir.get("/.well-known/smart-configuration")
@public
def smart_configuration() -> Response:
    """Return where tokens for this API come from: the EHR's own authorization server."""
    found = current_engine().smart_configuration(current_registration())
    return json_response(smart_document(found))


@fhir.get("/DiagnosticReport/<resource_id>")
@fhir_token("DiagnosticReport", "r")
def read_diagnostic_report(resource_id: str) -> Response:
    """Return one report."""
    return _read("DiagnosticReport", resource_id)


@fhir.get("/Observation/<resource_id>")
@fhir_token("Observation", "r")
def read_observation(resource_id: str) -> Response:
    """Return one statement of a report."""
    return _read("Observation", resource_id)


@fhir.get("/Device/<resource_id>")
@fhir_token("Device", "r")
def read_device(resource_id: str) -> Response:
    """Return the software that made a report."""
    return _read("Device", resource_id)


@fhir.get("/DocumentReference/<resource_id>")
@fhir_token("DocumentReference", "r")
def read_document_reference(resource_id: str) -> Response:
    """Return the card of the image model that a report was made with."""
    return _read("DocumentReference", resource_id)


@fhir.get("/DiagnosticReport")
@fhir_token("DiagnosticReport", "s")
def search_diagnostic_reports() -> Response:
    """Return the reports about one patient, newest first."""
    return _search({name: tuple(values) for name, values in request.args.lists()})


@fhir.post("/DiagnosticReport/_search")
@fhir_token("DiagnosticReport", "s")
def search_diagnostic_reports_by_post() -> Response:
    """Return the reports about one patient; the parameters are in body and URL."""
    if request.mimetype != FORM:
        raise HttpRefusalError(415, f"A search by POST has the media type {FORM}.")
    return _search({name: tuple(values) for name, values in request.values.lists()})


def _read(resource_type: str, resource_id: str) -> Response:
    _negotiate()
    _check_served()
    report = _visible_report(report_id_of(resource_id))
    resource = resource_of(
        report,
        current_registration(),
        resource_type,
        resource_id,
        card=current_engine().source_attributes(),
    )
    if resource is None:
        raise CdsError(Reason.NOT_FOUND, _NOT_THERE)
    _record("report.read", report.report_id, report.patient_id)
    _note_view(report)
    return _versioned(resource)


def _search(parameters: dict[str, tuple[str, ...]]) -> Response:
    _negotiate()
    _check_served()
    registration, right = current_registration(), current_right()
    search = ReportSearch.from_parameters(
        parameters,
        fhir_base_url=registration.fhir_base_url,
        is_strict="handling=strict" in request.headers.get("Prefer", ""),
    )
    if right.patient_id is not None and right.patient_id != search.patient_id:
        raise CdsError(Reason.NOT_AUTHORIZED, "The access token is for another patient.")
    background = current_engine().background
    reports = current_engine().results.by_patient(registration.ehr_id, search.patient_id)
    page = checked_page(
        search,
        reports,
        look=background.looked_at,
        render=lambda report: diagnostic_report_from_report(report, registration),
        deadline=TimeLimit(SEARCH_LOOKS_S),
    )
    for report in reports:
        if report.report_id not in page.looked_at:
            background.recheck(report)
    _record("report.searched", None, search.patient_id)
    for report, _ in page.entries:
        _note_view(report)
    return fhir_response(_bundle(search, page))


def _bundle(search: ReportSearch, page: ReportPage) -> dict[str, Any]:
    end = search.offset + len(page.entries)
    has_more = search.count > 0 and end < page.n_matching
    return search_bundle(
        [resource for _, resource in page.entries],
        base_url=_base_url(),
        self_url=_search_url(search, search.offset),
        total=page.n_matching,
        next_url=_search_url(search, end) if has_more else None,
    )


def _search_url(search: ReportSearch, offset: int) -> str:
    return f"{_base_url()}/DiagnosticReport?{urlencode(search.query(offset=offset))}"


def _visible_report(report_id: str) -> CaseReport:
    """Return the report, if this token may see it; else it does not exist (SAFETY R-ID-4)."""
    registration, right = current_registration(), current_right()
    report = current_engine().results.by_id(registration.ehr_id, report_id)
    if report is None or right.patient_id not in {None, report.patient_id}:
        raise CdsError(Reason.NOT_FOUND, _NOT_THERE)
    return current_engine().background.looked_at(report)


def _check_served() -> None:
    if current_registration().report_mode is not ReportMode.PRELIMINARY:
        raise CdsError(
            Reason.NOT_FOUND,
            "Reports are not served to this EHR: its report mode is not preliminary.",
        )


def _versioned(resource: dict[str, Any]) -> Response:
    """Return the resource with its version and time; 304 where the caller has it already."""
    meta = resource.get("meta", {})
    response = fhir_response(resource)
    response.set_etag(str(meta.get("versionId", "1")), weak=True)
    if "lastUpdated" in meta:
        response.last_modified = datetime.fromisoformat(meta["lastUpdated"])
    response.make_conditional(request)
    return response


def _negotiate() -> None:
    """Refuse what is neither JSON by ``_format`` nor by Accept (FHIR R4, http, content types)."""
    wanted = request.args.get("_format")
    accepted = request.accept_mimetypes
    is_json = wanted.split(";")[0].strip().replace(" ", "+") in JSON_TYPES if wanted else True
    if wanted is None and accepted:
        is_json = any(
            kind.split(";")[0] in JSON_TYPES or kind.split(";")[0] in {"*/*", "application/*"}
            for kind in accepted.values()
        )
    if not is_json:
        raise HttpRefusalError(406, "This API answers in application/fhir+json only.")


def _base_url() -> str:
    if request.blueprint == "fhir_alias":
        return f"{public_url()}/fhir"
    return f"{tenant_base(current_registration().ehr_id)}/fhir"


def _note_view(report: CaseReport) -> None:
    viewer = current_right().who
    current_engine().background.lives.note_view(
        report.ehr_id, report.report_id, viewer=viewer, door="fhir"
    )


def _record(action: str, entity: str | None, patient_id: str | None) -> None:
    engine, registration = current_engine(), current_registration()
    engine.audit.record(
        AuditEvent(
            ehr_id=registration.ehr_id,
            action=action,
            outcome="success",
            who=current_right().who,
            patient_key=engine.keys.patient_key(registration.ehr_id, patient_id)
            if patient_id
            else None,
            entity=entity,
        )
    )
