"""The authorization server's addresses: authorize, token, introspect, revoke, keys, discovery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from authlib.oauth2 import OAuth2Error
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    jsonify,
    redirect,
    render_template,
    request,
    session,
)

from sandbox.web.authorization_server import build_server, no_store
from sandbox.web.ehr_session import current_account, local_path, signed_in_at, staff_only
from sandbox.web.search_parameters import PARAMETERS

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from sandbox.web.accounts import Account
    from sandbox.web.hospital import Hospital
    from sandbox.web.places import Places

# Source: SMART App Launch 2.2, conformance; only what this server really does.
CAPABILITIES = (
    "launch-ehr",
    "authorize-post",
    "client-confidential-symmetric",
    "sso-openid-connect",
    "context-banner",
    "context-ehr-patient",
    "context-ehr-encounter",
    "permission-offline",
    "permission-online",
    "permission-patient",
    "permission-user",
    "permission-v1",
    "permission-v2",
)


def smart_configuration(places: Places) -> dict[str, Any]:
    """Return the document of ``.well-known/smart-configuration``."""
    base = f"{places.base_url}/auth"
    return {
        "issuer": places.fhir_base_url,
        "jwks_uri": f"{base}/jwks",
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "introspection_endpoint": f"{base}/introspect",
        "revocation_endpoint": f"{base}/revoke",
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "scopes_supported": [
            "launch",
            "openid",
            "fhirUser",
            "online_access",
            "offline_access",
            *(f"patient/{name}.rs" for name in PARAMETERS),
            "user/*.rs",
        ],
        "capabilities": list(CAPABILITIES),
    }


def openid_configuration(places: Places) -> dict[str, Any]:
    """Return the OpenID Connect discovery document."""
    return {
        **smart_configuration(places),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }


def register(app: Flask, hospital: Hospital) -> None:
    """Add the authorization server to the program."""
    parts = hospital.authorization_parts()
    server = build_server(app, parts)
    auth = Blueprint("auth", __name__, url_prefix="/auth")
    auth.after_request(no_store)

    @auth.route("/authorize", methods=["GET", "POST"])
    def authorize() -> ResponseReturnValue:
        if request.method == "POST":
            return redirect(f"/auth/authorize?{urlencode(list(request.form.items(multi=True)))}", 303)
        account = current_account()
        try:
            grant = server.get_consent_grant(end_user=account)
        except OAuth2Error as error:
            return _refusal(server, error)
        launch = hospital.grants.launch(request.args.get("launch", ""))
        if account is None or launch is None:
            return render_template("sign_in.html", next_url=request.full_path, is_framed=True)
        decision = session.pop(f"decision:{launch.launch_id}", None)
        if decision is None and signed_in_at() > launch.created_at:
            scopes = sorted(set(grant.request.scope.split()))
            return render_template("consent.html", scopes=scopes, account=account, launch=launch)
        granted_by = None if decision == "refuse" else account
        return server.create_authorization_response(grant_user=granted_by, grant=grant)

    @auth.post("/decision")
    @staff_only
    def decide(*, account: Account) -> ResponseReturnValue:
        launch = hospital.grants.launch(request.form.get("launch", ""))
        if launch is None or launch.account != account:
            abort(400)
        decision = "allow" if request.form.get("decision") == "allow" else "refuse"
        session[f"decision:{launch.launch_id}"] = decision
        return redirect(local_path(request.form.get("next"), default="/ehr/patients"), 303)

    @auth.post("/token")
    def token() -> ResponseReturnValue:
        return _allow_app(server.create_token_response())

    @auth.post("/introspect")
    def introspect() -> ResponseReturnValue:
        return server.create_endpoint_response("introspection")

    @auth.post("/revoke")
    def revoke() -> ResponseReturnValue:
        return server.create_endpoint_response("revocation")

    @auth.get("/jwks")
    def id_token_keys() -> ResponseReturnValue:
        return jsonify(hospital.keys.id_token_jwks())

    @app.get("/.well-known/cds-hooks-jwks.json")
    def hook_keys() -> ResponseReturnValue:
        response = jsonify(hospital.keys.hook_jwks())
        response.headers["Cache-Control"] = "public, max-age=60"
        return response

    @app.get("/fhir/.well-known/openid-configuration")
    def openid_discovery() -> ResponseReturnValue:
        return _public_json(openid_configuration(hospital.places))

    @app.get("/fhir/.well-known/smart-configuration")
    def smart_discovery() -> ResponseReturnValue:
        return _public_json(smart_configuration(hospital.places))

    def _allow_app(response: Response) -> Response:
        response.headers["Access-Control-Allow-Origin"] = hospital.places.app_url
        return response

    app.register_blueprint(auth)


def _public_json(document: dict[str, Any]) -> Response:
    response = jsonify(document)
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cache-Control"] = "public, max-age=60"
    return response


def _refusal(server: Any, error: OAuth2Error) -> ResponseReturnValue:  # noqa: ANN401
    """Send the refusal to the app where its address is proven, else show it."""
    if error.redirect_uri:
        return server.handle_error_response(None, error)  # type: ignore[no-any-return]
    sentence = error.description or "The app's request to sign in could not be accepted."
    return render_template("refused.html", sentence=sentence), 400
