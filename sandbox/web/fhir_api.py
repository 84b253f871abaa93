"""The FHIR R4 REST interface: bearer token required, scopes and patient compartment enforced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, abort, request

from sandbox.web.authorization_server import no_store
from sandbox.web.bearer import bearer_token
from sandbox.web.fhir_store import SearchRequest, patient_ref_of
from sandbox.web.matching import BadSearchError
from sandbox.web.outcome import FHIR_JSON, fhir_response, outcome
from sandbox.web.search_parameters import PARAMETERS, Kind

if TYPE_CHECKING:
    from sandbox.web.fhir_store import FhirStore, Resource, SearchAnswer
    from sandbox.web.grants import TokenRecord
    from sandbox.web.hospital import Hospital

PAGE_SIZE = 50
PAGE_SIZE_LIMIT = 200
_IGNORED = frozenset({"_format", "_pretty", "_total", "_elements"})
_ACCEPTED = ("*/*", "application/*", FHIR_JSON, "application/json", "application/json+fhir", "json")


def register(app: Flask, hospital: Hospital) -> None:
    """Add the FHIR interface to the program."""
    api = Blueprint("fhir", __name__, url_prefix="/fhir")
    doors = _Doors(hospital)
    api.before_request(doors.refuse_when_switched_off)
    api.after_request(no_store)
    api.add_url_rule("/metadata", view_func=doors.metadata)
    api.add_url_rule("/<resource_type>", view_func=doors.search, methods=["GET"])
    api.add_url_rule("/<resource_type>/_search", view_func=doors.search, methods=["POST"])
    api.add_url_rule("/<resource_type>/<resource_id>", view_func=doors.read, methods=["GET"])
    api.add_url_rule("/<resource_type>", view_func=doors.create, methods=["POST"])
    app.register_blueprint(api)


class _Doors:
    """The interactions of the interface."""

    def __init__(self, hospital: Hospital) -> None:
        self._hospital = hospital
        self._store: FhirStore = hospital.store
        self._base_url = hospital.places.fhir_base_url

    def refuse_when_switched_off(self) -> Response | None:
        """Answer 503 while an outage is on, 406 to a caller that cannot take FHIR JSON."""
        if self._hospital.fhir_switch.is_refusing():
            return outcome(503, "transient", "The FHIR server is down for the moment.")
        wanted = request.headers.get("Accept", "*/*")
        if not any(one.split(";")[0].strip() in _ACCEPTED for one in wanted.split(",")):
            return outcome(406, "not-supported", "Only application/fhir+json is served.")
        return None

    def metadata(self) -> Response:
        """Serve the CapabilityStatement, without a token."""
        return fhir_response(capability_statement(self._base_url))

    def read(self, resource_type: str, resource_id: str) -> Response:
        """Serve one resource."""
        token, limited = self._authorize(resource_type, "r")
        resource = self._store.read(resource_type, resource_id)
        if resource is None:
            return outcome(404, "not-found", f"There is no such {resource_type}.")
        if limited and not _is_within(resource, token):
            return outcome(403, "forbidden", "The token is for another patient.")
        response = fhir_response(resource)
        response.headers["ETag"] = f'W/"{resource["meta"].get("versionId", "1")}"'
        return response

    def search(self, resource_type: str) -> Response:
        """Serve one page of a search."""
        token, limited = self._authorize(resource_type, "s")
        pairs = [*request.args.items(multi=True), *request.form.items(multi=True)]
        if limited and _asks_for_another(pairs, token):
            return outcome(403, "forbidden", "The token is for another patient.")
        try:
            answer = self._store.search(_search_request(resource_type, pairs))
            first, size = _page_of(dict(pairs))
        except BadSearchError as error:
            return outcome(400, "invalid", str(error))
        matched = [r for r in answer.matched if not limited or _is_within(r, token)]
        included = [r for r in answer.included if not limited or _is_within(r, token)]
        return fhir_response(
            self._bundle(resource_type, pairs, matched, included, range(first, first + size))
        )

    def create(self, resource_type: str) -> Response:
        """Store a new DiagnosticReport."""
        token, limited = self._authorize(resource_type, "c")
        resource = request.get_json(silent=True, force=True)
        if not isinstance(resource, dict) or resource.get("resourceType") != resource_type:
            return outcome(400, "structure", f"The body must be one {resource_type} in JSON.")
        if not resource.get("status") or not resource.get("code"):
            return outcome(422, "required", "status and code are required.")
        if limited and not _is_within(resource, token):
            return outcome(403, "forbidden", "The token is for another patient.")
        kept = self._store.create(resource)
        response = fhir_response(kept, 201)
        response.headers["Location"] = f"{self._base_url}/{resource_type}/{kept['id']}/_history/1"
        return response

    def _authorize(self, resource_type: str, letter: str) -> tuple[TokenRecord, bool]:
        token = bearer_token(self._hospital)
        if token is None:
            refusal = outcome(401, "login", "A valid access token is required.")
            refusal.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
            abort(refusal)
        if resource_type not in PARAMETERS:
            abort(outcome(404, "not-supported", f"{resource_type} is not served here."))
        limited = token.is_limited_to_patient(resource_type, letter)
        if limited is None:
            refusal = outcome(403, "forbidden", f"The token's scopes do not cover {resource_type}.")
            refusal.headers["WWW-Authenticate"] = 'Bearer error="insufficient_scope"'
            abort(refusal)
        return token, limited

    def _bundle(
        self,
        resource_type: str,
        pairs: list[tuple[str, str]],
        matched: list[Resource],
        included: list[Resource],
        page: range,
    ) -> Resource:
        kept = [(n, v) for n, v in pairs if n not in _IGNORED | {"_offset"}]
        address = f"{self._base_url}/{resource_type}"
        links = [{"relation": "self", "url": f"{address}?{urlencode(kept)}"}]
        if page.stop < len(matched):
            following = urlencode([*kept, ("_offset", str(page.stop))])
            links.append({"relation": "next", "url": f"{address}?{following}"})
        entries = [self._entry(r, "match") for r in matched[page.start : page.stop]]
        entries += [self._entry(r, "include") for r in included if entries]
        bundle: Resource = {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(matched),
            "link": links,
        }
        return bundle | ({"entry": entries} if entries else {})

    def _entry(self, resource: Resource, mode: str) -> dict[str, Any]:
        address = f"{self._base_url}/{resource['resourceType']}/{resource['id']}"
        return {"fullUrl": address, "resource": resource, "search": {"mode": mode}}


def searched(store: FhirStore, resource_type: str, pairs: list[tuple[str, str]]) -> SearchAnswer:
    """Run a search for the EHR itself, for example to fill a prefetch key.

    Raises
    ------
    BadSearchError
        If the search is not supported.

    """
    return store.search(_search_request(resource_type, pairs))


def _search_request(resource_type: str, pairs: list[tuple[str, str]]) -> SearchRequest:
    if resource_type not in PARAMETERS:
        raise BadSearchError(f"{resource_type} is not served here.")
    results = {"_count", "_offset", "_sort", "_include", "_summary", *_IGNORED}
    return SearchRequest(
        resource_type,
        tuple((name, text) for name, text in pairs if name not in results),
        sort=dict(pairs).get("_sort", ""),
        includes=tuple(text for name, text in pairs if name == "_include"),
    )


def _page_of(parameters: dict[str, str]) -> tuple[int, int]:
    try:
        first = int(parameters.get("_offset", "0"))
        size = int(parameters.get("_count", str(PAGE_SIZE)))
    except ValueError:
        raise BadSearchError("_count must be a whole number.") from None
    if first < 0 or size < 0:
        raise BadSearchError("_count must not be negative.")
    is_count_only = parameters.get("_summary") == "count"
    return first, 0 if is_count_only else min(size, PAGE_SIZE_LIMIT)


def _is_within(resource: Resource, token: TokenRecord) -> bool:
    """Tell whether a resource is in the token's compartment, or belongs to no patient."""
    patient_ref = patient_ref_of(resource)
    return patient_ref is None or patient_ref == f"Patient/{token.patient_id}"


def _asks_for_another(pairs: list[tuple[str, str]], token: TokenRecord) -> bool:
    named = [text for name, text in pairs if name in {"patient", "subject"}]
    return any(text.rpartition("/")[2] != token.patient_id for text in named)


_PARAMETER_TYPES = {kind: kind.value for kind in Kind}


def capability_statement(base_url: str) -> Resource:
    """Return what the server can do."""
    resources = [
        {
            "type": name,
            "interaction": [{"code": "read"}, {"code": "search-type"}]
            + ([{"code": "create"}] if name == "DiagnosticReport" else []),
            "searchParam": [
                {"name": key, "type": _PARAMETER_TYPES[one.kind]} for key, one in known.items()
            ],
        }
        for name, known in PARAMETERS.items()
    ]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-01",
        "kind": "instance",
        "implementation": {"description": "Precedent sandbox (synthetic)", "url": base_url},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "security": {"service": [{"text": "SMART-on-FHIR"}]},
                "resource": resources,
            }
        ],
    }
